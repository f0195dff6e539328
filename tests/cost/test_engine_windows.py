"""How long a candidate is timed, and what is reported of it."""

from __future__ import annotations

import math
import time

from tvm_eqsat.cost.engine import Measurement
from tvm_eqsat.cost.engine.timing import windows


def test_the_middle_half_is_reported() -> None:
    measurement = Measurement("", (3.0, 1.0, 2.0, 9.0, 2.5), None)
    assert measurement.middle() == [2.0, 2.5, 3.0]
    assert (measurement.median, measurement.spread) == (2.5, 8.0 / 2.5)
    assert Measurement("", (5.0, 1.0, 2.0), None).middle() == [2.0]
    assert Measurement("", (5.0,), None).middle() == [5.0]


def test_long_runs_need_three_windows() -> None:
    config = {"number": 1, "repeat": 7, "min_repeat_ms": 5, "enable_cpu_cache_flush": False}
    module = {"main": lambda: time.sleep(0.01)}
    assert len(windows(module, [], config, math.inf)) in (3, 4)
    assert len(windows(module, [], {**config, "min_repeat_ms": 0}, math.inf)) == 7
    assert len(windows(module, [], config, 0.001)) == 1


def test_candidates_behind_the_best_get_three_windows() -> None:
    config = {"number": 1, "repeat": 20, "min_repeat_ms": 2, "enable_cpu_cache_flush": False}
    module = {"main": lambda: time.sleep(0.003)}
    assert len(windows(module, [], config, math.inf)) > 3
    assert len(windows(module, [], config, 0.002)) == 3
    assert len(windows(module, [], {**config, "repeat": 1}, 0.002)) == 1
