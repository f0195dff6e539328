"""The process that workers are forked from: it has TVM loaded, so that a new worker is there in milliseconds.

Workers are its children and never outlive it: it ends them as soon as the engine's process is gone, whatever they do.
It also removes the artifacts then: a process that was killed can't.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from typing import NoReturn

from .worker import Settings, serve

FORK, END, READY = b"f", b"e", b"r"
#: A process number, or the status that a process ended with, as :meth:`subprocess.Popen.wait` gives it.
NUMBER = struct.Struct("<q")
_PR_SET_PDEATHSIG = 1
_MOMENT = 2.0  # seconds


def main() -> None:
    """Fork and end workers on request, one request at a time, until standard input closes."""
    settings = Settings(**json.loads(sys.argv[1]))
    workers: set[int] = set()
    try:
        with contextlib.suppress(ConnectionError):  # the owner was killed meanwhile
            _serve(settings, workers)
    finally:
        for pid in workers:
            _end(pid)
    if _orphaned(settings.owner):  # not asked for where SIGTERM has ended it
        shutil.rmtree(settings.folder, ignore_errors=True)


def _orphaned(owner: int) -> bool:
    """Whether the engine's process is gone. Its files are closed a moment before its children are another's."""
    deadline = time.monotonic() + _MOMENT
    while os.getppid() == owner and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getppid() != owner


def _serve(settings: Settings, workers: set[int]) -> None:
    requests = socket.socket(fileno=os.dup(0))
    # Whatever a candidate or LLVM prints must not end up among the requests.
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    try:
        _load()
    except Exception as err:
        requests.send(f"{type(err).__name__}: {err}".encode()[:4000])
        return
    gc.collect()
    gc.freeze()  # or the workers' collectors would copy every page they share
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    requests.send(READY)
    _answer(requests, settings, workers)


def _answer(requests: socket.socket, settings: Settings, workers: set[int]) -> None:
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, 1 + NUMBER.size, 1)
        if not request:
            return
        if request == FORK:
            pid = os.fork()
            if pid == 0:
                requests.close()
                _work(descriptors[0], settings)
            os.close(descriptors[0])
            workers.add(pid)
            requests.send(NUMBER.pack(pid))
        else:
            (pid,) = NUMBER.unpack(request[1:])
            workers.remove(pid)
            requests.send(NUMBER.pack(_end(pid)))


def _load() -> None:
    """Import what workers need, and build something: the first build is a slow one."""
    from tvm import te, tirx

    x = te.placeholder((16,), name="x")
    y = te.compute((16,), lambda i: x[i] + 1.0, name="y")
    tirx.build(te.create_prim_func([x, y]), target="llvm")["main"]


def _work(channel: int, settings: Settings) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    status = 1
    try:
        serve(channel, settings)
        status = 0
    finally:
        os._exit(status)


def _end(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)  # until it has been waited for, the number can't be another process's
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
