"""The order in which kernels get trials."""

from __future__ import annotations

from math import inf

from tvm_eqsat.cost.tuning import Outlook


def test_every_kernel_has_its_turn_first_the_largest_before_the_others() -> None:
    outlook = Outlook([1, 100, 1], size=[1, 2, 3])
    outlook.add(1, 5.0)
    assert outlook.promise(0) == inf > outlook.promise(1)
    assert outlook.total() == inf
    assert outlook.next() == 2
    outlook.add(2, 5.0)
    assert outlook.next() == 0


def test_the_best_time_never_rises() -> None:
    outlook = Outlook([2])
    for best in (3.0, 9.0, inf):
        outlook.add(0, best)
    assert outlook.best == [[3.0, 3.0, 3.0]]
    assert outlook.total() == 6.0


def test_heavy_and_improving_kernels_promise_more() -> None:
    outlook = Outlook([1, 10, 1])
    for i in range(3):
        outlook.add(i, 8.0)
    assert outlook.promise(1) > outlook.promise(0) == outlook.promise(2)
    outlook.add(0, 8.0)
    outlook.add(2, 6.0)
    assert outlook.promise(2) > outlook.promise(0)


def test_a_kernel_that_never_ran_promises_nothing() -> None:
    outlook = Outlook([1])
    outlook.add(0, inf)
    assert outlook.promise(0) == 0.0
    assert outlook.next() == -1
    outlook.add(0, 1.0)
    assert 0 < outlook.promise(0) < inf


def test_a_kernel_that_was_tuned_before_promises_less_than_a_new_one_and_a_closed_one_nothing() -> None:
    outlook = Outlook([1, 1, 1])
    outlook.known(0, 1.0, batches=8)
    outlook.known(1, 1.0, batches=1)
    assert 0 < outlook.promise(0) < outlook.promise(1) < outlook.promise(2) == inf
    outlook.close(2)
    assert outlook.promise(2) == 0.0
    assert outlook.next() == 1
