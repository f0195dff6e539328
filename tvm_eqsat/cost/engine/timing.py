"""How a compiled candidate is timed, inside of a worker."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

_FLUSH = "cache_flush_cpu_non_first_arg"
_PROBE = 2e-3  # seconds of the first, short window
_HOPELESS = 3.0  # times the best: out of the running
_BEHIND = 1.3  # times the best: which window is its median decides nothing
_FEW = 3  # windows that are enough for it

#: Kind, dtype and shape of each argument.
Signature = tuple[tuple[str, str, tuple[int, ...]], ...]


class Arguments:
    """Filled tensors, kept as long as candidates ask for the same ones: they belong to one kernel mostly."""

    def __init__(self) -> None:
        self._signature: Signature | None = None
        self._tensors: list[Any] = []

    def of(self, signature: Signature) -> list[Any]:
        """Tensors of random numbers.

        Raises
        ------
        ValueError
            An argument isn't a tensor.
        """
        if signature != self._signature:
            import tvm

            self._signature, self._tensors = None, []  # free the old ones first
            fill = _function("tvm.contrib.random.random_fill_for_measure")
            tensors = []
            for kind, dtype, shape in signature:
                if kind != "TENSOR":
                    raise ValueError(f"the candidate has an argument of kind {kind}")
                tensors.append(tvm.runtime.empty(shape, dtype, tvm.cpu()))
                fill(tensors[-1])
            self._signature, self._tensors = signature, tensors
        return self._tensors


def windows(module: Any, tensors: Sequence[Any], config: dict[str, Any], best: float) -> list[float]:
    """Seconds of a run, over each of some windows: the mean of its runs.

    The mean, because latencies are to be added up: what disturbs every tenth run of a kernel disturbs a program of
    ten kernels always. Medians of kernels added up to 0.85 of their programs' latency, means to 1.03 of it.

    A warm-up run and a short window come first. They tell how many runs a window of ``min_repeat_ms`` needs, so that
    none is thrown away for having been too short. The slower a candidate is, the fewer windows it gets: what it takes
    exactly matters for the best ones only. The windows of all are alike, so their medians compare; only of one that is
    out of the running, there is no more than the short one.

    Parameters
    ----------
    module : tvm.runtime.Module
        Has the function ``main``.
    tensors : sequence of tvm.runtime.Tensor
        Its arguments.
    config : dict
        The fields of MetaSchedule's ``EvaluatorConfig``. Unlike there, caches are flushed before each run, not once
        a window; that is part of what a window takes.
    best : float
        Seconds of the best candidate so far. One that takes 3 times as long, in two measurements, is timed no further;
        one whose first windows are all 1.3 times as long gets three of them.
    """
    watch = _Watch(module, tensors, config["enable_cpu_cache_flush"])
    other = _clock(module["main"], tensors)
    seconds = watch.once()
    pause = watch.pause
    if seconds + pause < _PROBE:
        (seconds,) = watch.windows(math.ceil(_PROBE / (seconds + pause)), 1)
        other = watch.once() if seconds > _HOPELESS * best else seconds
    least = min(seconds, other)  # what disturbs the one won't disturb the other
    if least > _HOPELESS * best:
        return [seconds]
    number = max(config["number"], math.ceil(config["min_repeat_ms"] * 1e-3 / max(least + pause, 1e-9)))
    wanted = config["repeat"]
    found: list[float] = []
    if number == 1:
        wanted = _repeats(config, seconds + pause)
        found.append(seconds)
    found += watch.windows(number, min(_FEW, wanted) - len(found))
    if len(found) < wanted and min(found) <= _BEHIND * best:
        found += watch.windows(number, wanted - len(found))
    return found


class _Watch:
    """Times a candidate, with its operands in the caches or not."""

    def __init__(self, module: Any, tensors: Sequence[Any], flush: bool) -> None:
        self._module, self._tensors = module, tensors
        self._flush = _function(_FLUSH) if flush else None
        #: Seconds that the last flush took.
        self.pause = 0.0

    def once(self) -> float:
        """Seconds of one run."""
        if self._flush is not None:
            self.pause = _clock(self._flush, self._tensors)
        return _clock(self._module["main"], self._tensors)

    def windows(self, number: int, count: int) -> list[float]:
        """Some windows of ``number`` runs."""
        if number == 1:  # without the evaluator, which would run it once more
            return [self.once() for _ in range(count)]
        if self._flush is None:
            return self._evaluate(number=number, repeat=count)
        runs = self._evaluate(number=1, repeat=number * count, f_preproc=_FLUSH)
        return [statistics.fmean(runs[k : k + number]) for k in range(0, len(runs), number)]

    def _evaluate(self, **options: Any) -> list[float]:
        import tvm

        evaluator = self._module.time_evaluator("main", tvm.cpu(), **options)
        return [float(seconds) for seconds in evaluator(*self._tensors).results]


def _repeats(config: dict[str, Any], seconds: float) -> int:
    """As many windows as asked for; but where one run is longer than a window, only three need be."""
    budget: float = config["repeat"] * config["min_repeat_ms"] * 1e-3
    return min(config["repeat"], max(_FEW, math.ceil(budget / seconds))) if budget else config["repeat"]


def _function(name: str) -> Callable[..., Any]:
    import tvm

    found: Callable[..., Any] = tvm.get_global_func(name)
    return found


def _clock(run: Callable[..., Any], tensors: Sequence[Any]) -> float:
    started = time.perf_counter()
    run(*tensors)
    return time.perf_counter() - started
