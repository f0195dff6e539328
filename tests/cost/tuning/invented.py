"""A builder and a runner that measure nothing: latencies are invented from the arguments of a kernel."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult

from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.tuning import KernelTuner

Shapes = Sequence[tuple[int, ...]]


@derived_object
class Builder(PyBuilder):
    """Builds nothing; every ``broken``-th candidate fails."""

    def __init__(self, broken: int) -> None:
        super().__init__()
        self.broken = broken
        self.folder = tempfile.TemporaryDirectory()
        self.numbers = itertools.count(1)

    def build(self, build_inputs: Any) -> Any:
        results = []
        for _ in build_inputs:
            number = next(self.numbers)
            path = Path(self.folder.name, str(number), "artifact")
            path.parent.mkdir()
            path.write_text("")
            failed = self.broken and number % self.broken == 0
            results.append(BuilderResult(None, "broken") if failed else BuilderResult(str(path), None))
        return results


@derived_object
class Runner(PyRunner):
    """Answers with ``seconds(shapes)``, and less from trial to trial."""

    def __init__(self, seconds: Callable[[Shapes], float]) -> None:
        super().__init__()
        self.seconds = seconds
        self.seen: list[Shapes] = []

    def run(self, runner_inputs: Any) -> Any:
        results = []
        for item in runner_inputs:
            shapes = [tuple(json.loads(str(info.as_json()[2]))) for info in item.args_info]
            self.seen.append(shapes)
            seconds = self.seconds(shapes) * (1 + 1 / len(self.seen))
            results.append(Done(RunnerResult([seconds], None)))
        return results


@derived_object
class Done(PyRunnerFuture):
    """A finished run."""

    def __init__(self, outcome: Any) -> None:
        super().__init__()
        self.outcome = outcome

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return self.outcome


def tuner(store: KernelStore, seconds: Callable[[Shapes], float] = lambda _: 1e-3, broken: int = 0) -> KernelTuner:
    """A tuner that measures nothing."""
    return KernelTuner(store, builder=Builder(broken), runner=Runner(seconds))
