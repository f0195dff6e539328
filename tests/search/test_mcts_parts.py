"""Cost function, eviction and scores of the Monte Carlo tree search."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tvm_eqsat.egraph.egraph import EGraph
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.rules.analysis import TensorAnalysis
from tvm_eqsat.search.mcts import Usefulness
from tvm_eqsat.search.mcts.evict import evict
from tvm_eqsat.search.mcts.sharing import sharing_aware_cost
from tvm_eqsat.search.mcts.state import fingerprint

COSTS = {"relu": 1.0, "tanh": 2.0, "exp": 20.0, "abs": 4.0, "add": 8.0}


def _price(name: str, attrs: Any, ins: Any, out: Any) -> float:
    return COSTS.get(name, 0.0)


def _egraph() -> tuple[EGraph, int]:
    egraph = EGraph(TensorAnalysis())
    attrs = OPERATORS["input"].make_attrs(index=0, type=TensorType((2,), "float64"))
    return egraph, egraph.add(egraph.sym("input", attrs))


def _add(egraph: EGraph, name: str, *children: int) -> int:
    return egraph.add(egraph.sym(name), children)


def _cost(egraph: EGraph, *roots: int) -> float:
    frozen = egraph.freeze(roots)
    return sharing_aware_cost(frozen.with_costs([COSTS.get(name, 0.0) for name in frozen.node_op]))


def test_the_published_cost_counts_a_shared_operand_once() -> None:
    egraph, a = _egraph()
    shared = _add(egraph, "exp", a)
    root = _add(egraph, "add", _add(egraph, "relu", shared), _add(egraph, "tanh", shared))
    assert _cost(egraph, root) == 8 + 1 + 2 + 20
    assert _cost(egraph, root, shared) == 8 + 1 + 2 + 20
    egraph.union(root, _add(egraph, "add", shared, shared))
    assert _cost(egraph, root) == 8 + 20


def test_the_published_cost_subtracts_only_the_largest_contribution() -> None:
    egraph, a = _egraph()
    low, high = _add(egraph, "exp", a), _add(egraph, "abs", a)
    root = _add(egraph, "add", _add(egraph, "add", low, high), _add(egraph, "subtract", low, high))
    assert _cost(egraph, root) == 8 + (8 + 20 + 4) + 4  # what the DAG really costs is 4 less


def test_eviction_drops_what_no_good_program_needs() -> None:
    egraph, a = _egraph()
    root = _add(egraph, "exp", a)
    close = _add(egraph, "exp", _add(egraph, "relu", a))
    dear = _add(egraph, "exp", _add(egraph, "exp", _add(egraph, "abs", a)))
    egraph.union(root, close)
    egraph.union(root, dear)
    egraph.rebuild()
    smaller, place = evict(egraph, [root], _price, [], slack=0.1)
    ops = {smaller.ops[node[0]] for c in smaller.classes() for node in smaller.nodes(c)}
    assert ops == {"input", "exp", "relu"}
    assert len(smaller.nodes(place[egraph.find(root)])) == 2
    kept = [node for c in egraph.classes() for node in egraph.nodes(c)]
    same, _ = evict(egraph, [root], _price, kept, slack=0.0)
    assert same.num_nodes == egraph.num_nodes and same.num_classes == egraph.num_classes


def test_eviction_keeps_the_names_of_rules() -> None:
    egraph, a = _egraph()
    root = egraph.add(egraph.sym("exp"), [a], egraph.reason_id("somebody"))
    smaller, place = evict(egraph, [root], _price, [], slack=0.0)
    assert smaller.reason(smaller.nodes(place[root])[0]) == "somebody"


def test_the_order_of_unions_does_not_change_a_fingerprint() -> None:
    egraph, a = _egraph()
    parts = [_add(egraph, name, a) for name in ("relu", "tanh", "exp")]
    start = egraph.snapshot()
    seen = []
    for order in ((0, 1, 2), (2, 1, 0), (0, 1)):
        egraph.restore(start)
        for i, j in pairwise(order):
            egraph.union(parts[i], parts[j])
        egraph.rebuild()
        seen.append(fingerprint(egraph))
    assert seen[0] == seen[1] != seen[2]


def test_scores_are_kept_by_target(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    first = Usefulness(path, "cpu")
    first.start("net")
    first.learn({"merge": 3, "split": 1}, 0.2)
    assert first.score("merge") == pytest.approx(0.15)
    first.save()
    assert Usefulness(path, "gpu").score("merge") == 0
    second = Usefulness(path, "cpu")
    second.start("other")
    assert second.score("merge") == pytest.approx(0.15) and second.score("associate") == 0


def test_the_same_program_is_searched_with_the_same_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    for name in ("net", "other", "net"):
        scores = Usefulness(path, "cpu")
        scores.start(name)
        assert scores.score("merge") == (0.5 if name == "other" else 0.0)
        scores.learn({"merge": 1}, 0.5)
        scores.save()
    third = Usefulness(path, "cpu")
    third.start("third")
    assert third.score("merge") == 1.0


@pytest.mark.parametrize("text", ["", "[]", '{"cpu": 1}', '{"cpu": {"net": {"given": {}}}}', "\x00\xff"])
def test_a_foreign_file_is_left_alone(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text, encoding="utf-8")
    scores = Usefulness(path, "cpu")
    scores.start("net")
    scores.learn({"merge": 1}, 0.5)
    scores.save()
    assert path.read_text(encoding="utf-8") == text
    assert "neither used nor changed" in caplog.text


def test_the_file_is_json(tmp_path: Path) -> None:
    scores = Usefulness(tmp_path / "scores.json", "cpu")
    scores.start("net")
    scores.save()
    assert json.loads((tmp_path / "scores.json").read_text()) == {"cpu": {"net": {"found": {}, "given": {}}}}


def test_scores_that_cannot_be_written_do_not_end_a_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores = Usefulness(tmp_path / "missing" / "scores.json", "cpu")
    scores.start("net")
    scores.learn({"merge": 1}, 0.5)
    scores.save()
    assert scores.score("merge") == 0.5
    assert "can't be written" in caplog.text
