"""The order in which kernels get trials."""

from __future__ import annotations

import math

from tvm.s_tir.meta_schedule.runner import RunnerResult

from tvm_eqsat.cost.scheduler import Outlook


def ran(*seconds: float) -> list[RunnerResult]:
    return [RunnerResult([s], None) for s in seconds]


def test_every_kernel_has_its_turn_first() -> None:
    outlook = Outlook([1, 100])
    outlook.add(1, ran(5.0))
    assert outlook.promise(0) == math.inf > outlook.promise(1)
    assert outlook.total() == math.inf


def test_the_best_time_never_rises() -> None:
    outlook = Outlook([2])
    for batch in (ran(4.0, 3.0), ran(9.0), [RunnerResult(None, "crashed")]):
        outlook.add(0, batch)
    assert outlook.best == [[3.0, 3.0, 3.0]]
    assert outlook.total() == 6.0


def test_heavy_and_improving_kernels_promise_more() -> None:
    outlook = Outlook([1, 10, 1])
    for i in range(3):
        outlook.add(i, ran(8.0))
    assert outlook.promise(1) > outlook.promise(0) == outlook.promise(2)
    outlook.add(0, ran(8.0))
    outlook.add(2, ran(6.0))
    assert outlook.promise(2) > outlook.promise(0)


def test_a_kernel_that_never_ran_promises_nothing() -> None:
    outlook = Outlook([1])
    outlook.add(0, [RunnerResult(None, "crashed")])
    assert outlook.promise(0) == 0.0
    outlook.add(0, ran(1.0))
    assert 0 < outlook.promise(0) < math.inf
