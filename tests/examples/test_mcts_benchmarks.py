"""The benchmarks of tree search and of its rewards: resumption, and what they call an error."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from examples.benchmarks.mcts import Results, Run
from examples.benchmarks.rewards import correlations, estimates
from tests.cost.builders import MACHINE
from tests.graphs import apply, tensor
from tvm_eqsat.cost.node_cost import NodeCost
from tvm_eqsat.errors import FormatError
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rewards import REWARDS

RUN = Run("net", 2_000, "mcts", 1, ms=2.5, seconds=1.0, cpu_seconds=0.75, peak_mb=100.0)


def test_every_run_is_on_disk_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    Results(path, {"simulations": 200}).add(RUN)
    again = Results(path, {"simulations": 200})
    assert again.runs == [RUN] == again.of("net", 2_000, "mcts")
    assert again.of("net", 50_000, "mcts") == again.of("net", 2_000, "backoff") == []


def test_runs_with_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    Results(path, {"simulations": 200}).add(RUN)
    with pytest.raises(FormatError, match=r"other settings.*200"):
        Results(path, {"simulations": 100})
    path.write_text('{"runs": [{}]}')
    with pytest.raises(FormatError, match="isn't a file of this benchmark"):
        Results(path, {"simulations": 200})


def test_when_a_program_was_as_cheap_as_another() -> None:
    run = replace(RUN, reached=[[0.25, 4.0], [0.5, 3.0], [0.75, 2.5]])
    assert [run.seconds_to(ms) for ms in (5.0, 4.0, 2.9, 2.5, 2.4)] == [0.25, 0.25, 0.75, 0.75, inf]


def test_no_reward_is_below_the_proven_optimum_of_a_program_without_sharing() -> None:
    graph = TensorGraph()
    x, w = tensor(graph, 64, 64), tensor(graph, 64, 64)
    graph.outputs = [apply(graph, "relu", apply(graph, "matmul", apply(graph, "matmul", x, w), w))]
    found = list(estimates("net", graph, NodeCost(MACHINE), time_limit=5.0))
    assert {e.reward for e in found} == REWARDS.keys()
    assert all(e.proven and e.ms > 0 for e in found)
    assert all(e.error == pytest.approx(0.0, abs=1e-9) for e in found if e.reward == "bundles")
    assert all(e.error > -1e-9 for e in found)


def test_latencies_must_come_from_the_benchmark_of_predictions(tmp_path: Path) -> None:
    path = tmp_path / "latencies.json"
    path.write_text(json.dumps({"target": "{}", "models": {"net": {"rows": [{"origin": "original"}]}}}))
    with pytest.raises(FormatError, match="isn't a file of examples"):
        correlations(path, seed=0)
