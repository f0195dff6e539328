"""The engine's side of its processes: the nursery, and each worker that comes from it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...errors import MeasurementError
from . import host, wire
from .nursery import END, FORK, NUMBER, READY
from .worker import Settings

_START_SECONDS = 120.0  # importing TVM on a busy machine
_SETTLE_SECONDS = 1.0
# How often one of TVM's threads looks for new work before it sleeps. TVM's 300,000 keep a core busy for about a second
# after a run, and what is timed there next would take longer. These are some ten milliseconds: enough from one run to
# the next, even if a part of it is serial.
_SPINS = "10000"


class Innocent(Exception):
    """The worker was gone before it began with a request, which had nothing to do with that."""


class Nursery:
    """A process that forks workers; started at once, waited for at the first worker, restarted should it be killed.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = self._closed = False
        self._start()

    def fork(self) -> tuple[int, socket.socket]:
        """A new worker: its process number, and what to talk to it through.

        Raises
        ------
        MeasurementError
            No worker can be started.
        """
        with self._lock:
            if self._closed:
                raise MeasurementError("the measuring engine was closed; make another one")
            for _ in range(2):
                ours, theirs = socket.socketpair()
                with theirs, contextlib.suppress(OSError):
                    self._wait()
                    socket.send_fds(self._requests, [FORK], [theirs.fileno()])
                    if reply := self._requests.recv(NUMBER.size):
                        return int(NUMBER.unpack(reply)[0]), ours
                ours.close()
                self._stop()
        raise MeasurementError("the process that measuring workers come from ends whenever it is asked for one")

    def end(self, pid: int) -> int | None:
        """End a worker; returns its exit status, negative if a signal ended it, None if that isn't known."""
        with self._lock, contextlib.suppress(OSError):
            self._requests.send(END + NUMBER.pack(pid))
            if reply := self._requests.recv(NUMBER.size):
                return int(NUMBER.unpack(reply)[0])
        return None

    def interrupt(self) -> None:
        """End all workers now, from any thread; who waits for one learns that it died. New ones can be had."""
        if (process := self._process) is not None:
            process.terminate()

    def close(self) -> None:
        """End the process, and with it all workers, for good."""
        self.interrupt()
        with self._lock:
            self._closed = True
            self._stop()

    def _wait(self) -> None:
        if self._process is None:
            self._start()
        if self._ready:
            return
        if not wire.readable(self._requests.fileno(), _START_SECONDS):
            raise MeasurementError(f"measuring workers can't be started: TVM wasn't loaded in {_START_SECONDS:g} s")
        greeting = self._requests.recv(4096)
        if greeting and greeting != READY:
            raise MeasurementError(f"measuring workers can't be started: {greeting.decode(errors='replace')}")
        self._ready = bool(greeting)

    def _start(self) -> None:
        threads = str(len(self._settings.timing_cpus))
        package_root = str(Path(__file__).resolve().parents[3])
        env = {
            "TVM_THREAD_POOL_SPIN_COUNT": _SPINS,
            **os.environ,
            "TVM_NUM_THREADS": threads,
            "TVM_BIND_THREADS": "0",  # to cores of the machine, even those that are not ours to use
            "OPENBLAS_NUM_THREADS": "1",  # threads don't survive a fork
            "PYTHONPATH": os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ready = False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tvm_eqsat.cost.engine.nursery", json.dumps(asdict(self._settings))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=env,
                start_new_session=True,  # Ctrl-C is for the tuner: it may want to finish what is being measured
            )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._requests.close()
        process.terminate()  # it may still be loading TVM
        process.wait()


class Worker:
    """One worker process, forked when it is first needed, and again after each end. Used by one thread at a time.

    Parameters
    ----------
    nursery : Nursery
        Where it comes from.

    Attributes
    ----------
    held : set of str
        The artifacts that it has compiled.
    restarts : int
        How often the process had to be replaced.
    """

    def __init__(self, nursery: Nursery) -> None:
        self.held: set[str] = set()
        self.restarts = -1
        self._nursery = nursery
        self._pid: int | None = None
        self._channel: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Number of the process, if there is one."""
        return self._pid

    def ask(self, timeout: float, *request: Any) -> tuple[bool, Any]:
        """Send a request; returns (True, answer) or (False, what went wrong). Never raises for a bad candidate.

        Raises
        ------
        Innocent
            Something else had ended the process.
        """
        self.alive()
        if self._channel is None:
            self._pid, self._channel = self._nursery.fork()
            self.restarts += 1
        begun = False
        try:
            wire.send(self._channel.fileno(), request)
            begun = wire.receive(self._channel.fileno(), _START_SECONDS)
            return wire.receive(self._channel.fileno(), timeout)
        except TimeoutError:
            self.stop()
            return False, f"timed out after {timeout:g} s"
        except (EOFError, OSError) as err:
            status = self.stop()
            if not begun:
                raise Innocent from err
            return False, f"the worker process died ({_described(status)})"

    def alive(self) -> bool:
        """Whether the process runs; if it ended by itself, what it held is gone."""
        if self._channel is not None and wire.readable(self._channel.fileno(), 0):  # unasked, that is its end
            self.stop()
        return self._channel is not None

    def forget(self, artifacts: Collection[str]) -> None:
        """Free candidates."""
        if artifacts and self.alive():
            with contextlib.suppress(Innocent):
                self.ask(_START_SECONDS, "forget", list(artifacts))
            self.held.difference_update(artifacts)

    def settle(self) -> None:
        """Wait until all its threads sleep."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self._pid is not None and host.runs(self._pid) and time.monotonic() < deadline:
            time.sleep(1e-3)

    def memory(self) -> int:
        """Bytes that the process holds."""
        return host.resident(self._pid) if self._pid is not None else 0

    def stop(self) -> int | None:
        """End the process; returns its exit status."""
        pid, self._pid = self._pid, None
        channel, self._channel = self._channel, None
        self.held.clear()
        if channel is not None:
            channel.close()
        return None if pid is None else self._nursery.end(pid)


def _described(status: int | None) -> str:
    if status is None:
        return "killed"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
