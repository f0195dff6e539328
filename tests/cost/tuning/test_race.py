"""The race between programs, with invented estimates."""

from __future__ import annotations

import pytest
import tvm

from tvm_eqsat.cost.lower import Kernel
from tvm_eqsat.cost.roofline import Kind, Work
from tvm_eqsat.cost.tuning.estimate import Estimate, doubt, gain
from tvm_eqsat.cost.tuning.race import Race

MOD = tvm.IRModule({})


def kernel(number: int, count: int = 1) -> Kernel:
    return Kernel(f"kernel{number}", count, Work(Kind.STREAM, 1.0), MOD, number)


A, B, C, D = (kernel(i) for i in (1, 2, 3, 4))
SECONDS = {1: 10.0, 2: 5.0, 3: 5.5, 4: 50.0}


def price(item: Kernel) -> float:
    return SECONDS[item.hash]


def estimate(deviation: float = 0.2):
    return lambda item: Estimate(price(item), price(item) * deviation)


def test_the_fastest_leads_and_the_original_wins_ties() -> None:
    assert Race([[A, C], [A, B], [D]]).leader(price) == 1
    assert Race([[A, B], [B, A], [D]]).leader(price) == 0
    assert Race([[A, C], [A, B], [D]]).leader(price, among=[0, 2]) == 0


def test_calls_count() -> None:
    race = Race([[kernel(1, 3), B], [A]])
    assert race.seconds(0, price) == 35.0
    race.programs.append([kernel(2, 2), kernel(2, 1)])
    assert race.seconds(2, price) == 15.0


def test_only_what_differs_is_at_stake() -> None:
    stakes = Race([[A, C], [A, B]], copies=4).stakes(1, estimate())
    assert {key: stake for key, (_, stake) in stakes.items()} == pytest.approx({2: 4.0, 3: 4.4})


def test_a_program_that_is_too_far_behind_is_out_of_the_race() -> None:
    assert set(Race([[A, D], [A, B], [A, C]]).stakes(1, estimate())) == {2, 3}
    assert Race([[A, D], [A, B]]).stakes(1, estimate()) == {}
    assert set(Race([[A, D], [A, B]]).stakes(1, estimate(0.9))) == {2, 4}


def test_a_gain_that_is_hardly_one_is_not_worth_trials() -> None:
    large = Estimate(1000.0, 0.0)
    race = Race([[A, B], [A, C]])
    assert race.stakes(0, lambda item: large if item.hash == 1 else estimate()(item)) == {}


def test_a_leader_that_nobody_measured_must_prove_itself() -> None:
    def guess(item: Kernel) -> Estimate:
        return Estimate(price(item), 0.3 * price(item), measured=item.hash != 2)

    race = Race([[kernel(1, 2)], [A, B]])
    assert race.stakes(1, estimate(0.3)) == {}
    assert set(race.stakes(1, guess)) == {1, 2}


def test_what_is_not_tir_cannot_be_measured() -> None:
    foreign = Kernel("packed", 1, Work(Kind.STREAM, 1.0))
    race = Race([[A, foreign], [A, B]])
    found = race.stakes(1, lambda item: Estimate(5.0, 5.0))
    assert set(found) == {2}


@pytest.mark.parametrize("kind", list(Kind))
def test_more_trials_gain_less_and_less(kind) -> None:
    work = Work(kind, 1.0)
    gains = [gain(work, n, 64) for n in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert gains == sorted(gains, reverse=True) and gains[-2:] == [1.0, 1.0]
    assert gain(work, 1, 8) * gain(work, 8, 64) == pytest.approx(gain(work, 1, 64))
    assert doubt(work, 64, 64) == 0.0 < doubt(work, 8, 64) < doubt(work, 1, 64)
    assert gain(work, 1, 64) <= gain(Work(Kind.DENSE, 1.0), 1, 64)
