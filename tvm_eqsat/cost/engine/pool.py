"""Some workers: they build side by side, and time one after the other while no other one does anything.

A build on the next core makes a candidate look slower (shared caches, memory bandwidth, clock frequency), by an amount
that depends on the candidate. So all of a batch is built before any of it is timed.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import statistics
import tempfile
import threading
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tvm.s_tir.meta_schedule.runner import EvaluatorConfig

from . import host
from .process import Innocent, Nursery, Worker
from .timing import Signature
from .worker import Settings

_ATTEMPTS = 3  # at a build, while workers end for reasons of their own
_CONFIRMED = 2  # candidates of a kernel that are timed twice, at most
_GROWTH = 512 << 20  # bytes that a worker may have grown by before a fresh one takes its place


class Request(NamedTuple):
    """A candidate to time: the file of a built artifact, and its arguments."""

    artifact: str
    signature: Signature


class Outcome(NamedTuple):
    """The seconds of each window, or what went wrong."""

    windows: tuple[float, ...] = ()
    error: str | None = None


class WorkerPool:
    """Worker processes.

    Parameters
    ----------
    workers : int
        Number of processes.
    threads : int
        Threads that a candidate runs with; no more than there are CPUs.
    memory : int
        Bytes that each may allocate.

    Attributes
    ----------
    folder : str
        For artifacts; it is removed at the end, even if this process is killed.
    """

    def __init__(self, workers: int, threads: int, memory: int) -> None:
        cpus = host.cpus()
        self.folder = tempfile.mkdtemp(prefix="tvm-eqsat-engine-")
        self.nursery = Nursery(Settings(cpus, cpus[:threads], memory, self.folder, os.getpid()))
        self.workers = [Worker(self.nursery) for _ in range(workers)]
        #: Held while a batch is built, or timed.
        self.lock = threading.RLock()
        self._fresh: dict[int, int] = {}
        self._finalizer = weakref.finalize(self, _end, self.nursery, self.folder)

    @property
    def closed(self) -> bool:
        """Whether it can't be used any more."""
        return not self._finalizer.alive

    @property
    def restarts(self) -> int:
        """How many worker processes had to be replaced."""
        return sum(max(0, worker.restarts) for worker in self.workers)

    def build(self, artifacts: Iterable[str], timeout: float) -> list[str | None]:
        """Compile candidates, each in the next worker that is free; for each, None or what went wrong."""
        errors: dict[int, str | None] = {}
        todo = enumerate(artifacts)
        taking = threading.Lock()

        def serve(worker: Worker) -> None:
            while True:
                with taking:
                    i, artifact = next(todo, (-1, ""))
                if i < 0:
                    return
                errors[i] = _build(worker, artifact, timeout)

        with self.lock, ThreadPoolExecutor(len(self.workers), "tvm-eqsat-engine") as executor:
            try:
                list(executor.map(serve, self.workers))
            except BaseException:
                with taking:
                    todo = enumerate(())
                self.nursery.interrupt()  # what a thread waits for ends now
                raise
        return [errors[i] for i in range(len(errors))]

    def time(
        self, requests: Sequence[Request], config: EvaluatorConfig, build_timeout: float, timeout: float
    ) -> list[Outcome]:
        """Time candidates one by one, those of a worker in a row: its threads spin for a while after each run.

        What a worker held when it died is built again before the rest is timed. Of several measurements the lowest
        flatters, so the fastest candidate of each kernel is timed a second time, and only that counts.
        """
        outcomes: dict[int, Outcome] = {}
        best: dict[Signature, float] = {}
        with self.lock:
            try:
                while pending := [i for i in range(len(requests)) if i not in outcomes]:
                    self._build_missing(pending, requests, outcomes, build_timeout)
                    for worker in self.workers:
                        for i in pending:
                            if worker.alive() and requests[i].artifact in worker.held:
                                outcome = _time(worker, requests[i], config, timeout, best)
                                if outcome is not None:
                                    outcomes[i] = outcome
                        worker.settle()
                self._confirm(requests, outcomes, config, timeout)
            except BaseException:
                self.nursery.interrupt()
                raise
            for worker in self.workers:
                worker.forget(worker.held & {request.artifact for request in requests})
                worker.settle()
        return [outcomes[i] for i in range(len(requests))]

    def tidy(self) -> None:
        """Free candidates whose artifact was removed, and replace workers that have grown."""
        for worker in self.workers:
            worker.forget([artifact for artifact in worker.held if not os.path.exists(artifact)])
            if worker.pid is None or worker.held:
                continue
            memory = worker.memory()
            if memory > self._fresh.setdefault(worker.pid, memory) + _GROWTH:
                worker.stop()

    def close(self) -> None:
        """End all processes and remove the folder."""
        self._finalizer()

    def _confirm(
        self, requests: Sequence[Request], outcomes: dict[int, Outcome], config: EvaluatorConfig, timeout: float
    ) -> None:
        """Time the fastest of several candidates again, then who leads after that, until who leads was timed twice."""
        for signature in dict.fromkeys(request.signature for request in requests):
            mine = [i for i, request in enumerate(requests) if request.signature == signature]
            done: set[int] = set()
            while len(timed := [i for i in mine if outcomes[i].windows]) > 1 and len(done) < _CONFIRMED:
                first = min(timed, key=lambda i: statistics.median(outcomes[i].windows))
                worker = next((w for w in self.workers if requests[first].artifact in w.held and w.alive()), None)
                if first in done or worker is None:
                    break
                done.add(first)
                outcomes[first] = _time(worker, requests[first], config, timeout, {}) or outcomes[first]
                worker.settle()

    def _build_missing(
        self, pending: Sequence[int], requests: Sequence[Request], outcomes: dict[int, Outcome], timeout: float
    ) -> None:
        kept = {artifact for worker in self.workers if worker.alive() for artifact in worker.held}
        missing = [i for i in pending if requests[i].artifact not in kept]
        if not missing:
            return
        for i, error in zip(missing, self.build([requests[i].artifact for i in missing], timeout), strict=True):
            if error is not None:
                outcomes[i] = Outcome(error=error)


def _end(nursery: Nursery, folder: str) -> None:
    nursery.close()
    shutil.rmtree(folder, ignore_errors=True)


def _build(worker: Worker, artifact: str, timeout: float) -> str | None:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(Innocent):
            ok, answer = worker.ask(timeout, "build", artifact)
            if ok:
                worker.held.add(artifact)
            return None if ok else str(answer)
    return "worker processes end before they begin to work"


def _time(
    worker: Worker, request: Request, config: EvaluatorConfig, timeout: float, best: dict[Signature, float]
) -> Outcome | None:
    """Time a candidate that the worker holds; None if the worker was gone before it began."""
    fastest = best.get(request.signature, math.inf)
    try:
        ok, answer = worker.ask(timeout, "time", *request, config._asdict(), fastest)
    except Innocent:
        return None
    if not ok:
        return Outcome(error=answer)
    best[request.signature] = min(fastest, *answer)
    return Outcome(windows=tuple(answer))
