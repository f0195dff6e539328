"""The worker processes: started once, restarted when a candidate takes one down."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...errors import MeasurementError
from . import wire

_START_SECONDS = 120.0  # importing TVM on a busy machine


class Worker:
    """One worker process, and the requests to it, one at a time.

    Parameters
    ----------
    threads : int
        Threads that a candidate runs with.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.restarts = -1
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, timeout: float, *request: Any) -> tuple[bool, Any]:
        """Send a request; returns (True, answer) or (False, what went wrong). Never raises for a bad candidate."""
        with self._lock:
            try:
                process = self._running()
                wire.send(process.stdin.fileno(), request)  # type: ignore[union-attr]
                return wire.receive(process.stdout.fileno(), timeout)  # type: ignore[union-attr]
            except TimeoutError:
                self._kill()
                return False, f"timed out after {timeout:g} s"
            except (EOFError, OSError):
                code = self._kill()
                return False, f"the worker process died (exit status {code})"

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.restarts += 1
        package_root = str(Path(__file__).resolve().parents[3])
        env = {
            **os.environ,
            "TVM_NUM_THREADS": str(self.threads),
            "PYTHONPATH": os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tvm_eqsat.cost.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,  # Ctrl-C is for the parent: what is being measured is finished
        )
        ok, answer = wire.receive(self._process.stdout.fileno(), _START_SECONDS)  # type: ignore[union-attr]
        if not ok:
            raise MeasurementError(f"a measuring worker didn't start: {answer}")
        return self._process

    def _kill(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        return code


class WorkerPool:
    """Some workers, with a thread each that waits for them.

    Parameters
    ----------
    workers : int
        Number of processes, which compile side by side. They never time side by side.
    threads : int
        Threads that a candidate runs with.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers = [Worker(threads) for _ in range(workers)]
        self.executor = ThreadPoolExecutor(workers, thread_name_prefix="tvm-eqsat-engine")
        self.tokens = 0
        self._finalizer = weakref.finalize(self, _stop, self.workers, self.executor)

    def close(self) -> None:
        """End all processes."""
        self._finalizer()


def _stop(workers: list[Worker], executor: ThreadPoolExecutor) -> None:
    for worker in workers:
        worker.stop()
    executor.shutdown(wait=False, cancel_futures=True)
