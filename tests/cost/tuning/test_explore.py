"""Trials that decide: which kernels get them, and how many."""

from __future__ import annotations

import pytest
from tvm.relax import op

from tests.cost.builders import MACHINE, TARGET, module
from tests.cost.tuning.invented import Shapes, tuner
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.pricing import pricer_for
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.tuning.estimate import Estimates
from tvm_eqsat.cost.tuning.explore import SHARE, explore
from tvm_eqsat.cost.tuning.race import Race


def product(rows: int, columns: int) -> Kernel:
    (found,) = kernels(module(lambda e, x, w: e(op.matmul(x, w)), (rows, 32), (32, columns)), TARGET)
    return found


COMMON, SLOW, FAST, OTHER = (product(16, n) for n in (256, 64, 65, 66))


def seconds(shapes: Shapes) -> float:
    return {256: 1e-1, 64: 1e-3, 65: 1e-4, 66: 1e-2}[shapes[-1][-1]]


def explored(folder, programs: list[list[Kernel]], trials: int, renew=lambda race: False):
    store = KernelStore(folder, TARGET)
    race = Race([*programs])
    with tuner(store, seconds) as tuning:
        tuning.plan(trials, max(map(len, programs)))
        estimates = Estimates(store, pricer_for(TARGET, store), MACHINE, 64)
        done = explore([race], tuning, estimates, trials, renew=lambda: renew(race))
        leader = race.leader(lambda kernel: estimates(kernel).seconds)
        assert done.trials == tuning.trials
        return done, leader, {name: store.best(k.hash) for name, k in (("common", COMMON), ("fast", FAST))}


def test_what_programs_have_in_common_gets_no_trial(tmp_path) -> None:
    done, leader, measured = explored(tmp_path, [[COMMON, SLOW], [COMMON, FAST]], 120)
    assert leader == 1 and done.settled
    assert measured["common"] is None


def test_equal_programs_need_none(tmp_path) -> None:
    done, leader, _ = explored(tmp_path, [[COMMON, SLOW], [SLOW, COMMON]], 120)
    assert (done.trials, done.settled, leader) == (0, True, 0)


@pytest.mark.parametrize("trials", [4, 24, 60])
def test_the_share_is_a_limit_and_the_programs_in_the_lead_get_theirs(tmp_path, trials) -> None:
    done, _, _ = explored(tmp_path, [[COMMON, SLOW], [COMMON, FAST], [COMMON, OTHER]], trials)
    assert done.trials <= trials * SHARE


def test_programs_that_turn_up_on_the_way_take_part(tmp_path) -> None:
    def renew(race: Race) -> bool:
        new = len(calls) == 1
        calls.append(1)
        if new:
            race.programs.append([COMMON, FAST])
        return new

    calls: list[int] = []
    done, leader, _ = explored(tmp_path, [[COMMON, SLOW], [COMMON, OTHER]], 240, renew)
    assert leader == 2 and done.rounds == len(calls) >= 2
