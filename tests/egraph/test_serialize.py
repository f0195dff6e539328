"""E-graphs in files."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tvm_eqsat.egraph import EGraph, FrozenEGraph
from tvm_eqsat.egraph.serialize import from_json, load, save, to_json
from tvm_eqsat.errors import FormatError

Attrs = namedtuple("Attrs", "axis shape")


def example() -> FrozenEGraph:
    eg = EGraph()
    a, b = eg.add(eg.sym("a")), eg.add(eg.sym("b", (1,)))
    f = eg.add(eg.sym("f", Attrs(0, (2, 3))), [a, b])
    eg.union(f, a)  # a cycle
    root = eg.add(eg.sym("g"), [f])
    frozen = eg.freeze([root, b])
    return frozen.with_costs([0.25 * (i + 1) for i in range(frozen.n_nodes)])


def test_json_is_in_the_format() -> None:
    assert to_json(example()) == {
        "nodes": {
            "0.0": {"op": "a", "children": [], "eclass": "0", "cost": 0.25},
            "0.1": {"op": "f(axis=0, shape=(2, 3))", "children": ["0.0", "1.0"], "eclass": "0", "cost": 0.5},
            "1.0": {"op": "b(1)", "children": [], "eclass": "1", "cost": 0.75},
            "2.0": {"op": "g", "children": ["0.0"], "eclass": "2", "cost": 1.0},
        },
        "root_eclasses": ["2", "1"],
        "class_data": {},
    }


def test_round_trip(tmp_path: Path) -> None:
    original, path = example(), tmp_path / "e.json"
    save(original, path)
    again = load(path)
    assert to_json(again) == to_json(original)
    for field in ("class_nodes", "node_class", "node_children", "costs", "roots"):
        assert getattr(again, field) == getattr(original, field)
    assert again.node_key == ["0.0", "0.1", "1.0", "2.0"] and again.class_key == ["0", "1", "2"]


def test_saving_replaces_the_file_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.json"
    path.write_text("precious")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save(example(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["e.json"] and path.read_text() == "precious"
    monkeypatch.undo()
    save(example(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["e.json"] and load(path).n_nodes == 4


@pytest.mark.parametrize("cost", [float("inf"), float("nan")])
def test_costs_that_json_cannot_hold_are_refused(cost: float) -> None:
    frozen = example()
    with pytest.raises(FormatError, match=r"node 1 \(f\(axis=0.*finite"):
        to_json(frozen.with_costs([1.0, cost, 1.0, 1.0]))


def test_defaults_and_subsumed_nodes() -> None:
    frozen = from_json(
        {
            "nodes": {
                "r": {"op": "f", "eclass": "R", "children": ["old"]},
                "old": {"op": "a", "eclass": "A", "subsumed": True, "cost": 9},
                "new": {"op": "b", "eclass": "A", "cost": 2, "unknown": "ignored"},
            },
            "root_eclasses": ["R"],
        }
    )
    assert frozen.node_op == ["f", "b"] and frozen.node_children == [(1,), ()] and frozen.costs == [1.0, 2.0]


NODE = {"op": "a", "eclass": "A", "children": []}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], "nodes"),
        ({"root_eclasses": []}, "nodes"),
        ({"nodes": [], "root_eclasses": []}, "nodes"),
        ({"nodes": {}}, "root_eclasses"),
        ({"nodes": {"n": NODE}, "root_eclasses": []}, "no root class"),
        ({"nodes": {"n": NODE}, "root_eclasses": ["B"]}, "root class 'B'"),
        ({"nodes": {"n": NODE}, "root_eclasses": [7]}, "root class 7"),
        ({"nodes": {"n": []}, "root_eclasses": ["A"]}, "nodes['n']"),
        ({"nodes": {"n": {"op": "a"}}, "root_eclasses": ["A"]}, "nodes['n']"),
        ({"nodes": {"n": {"op": 1, "eclass": "A"}}, "root_eclasses": ["A"]}, "nodes['n']"),
        ({"nodes": {"n": {**NODE, "children": "n"}}, "root_eclasses": ["A"]}, "nodes['n'].children"),
        ({"nodes": {"n": {**NODE, "children": ["m"]}}, "root_eclasses": ["A"]}, "no node 'm'"),
        ({"nodes": {"n": {**NODE, "children": [[]]}}, "root_eclasses": ["A"]}, "nodes['n'].children"),
        ({"nodes": {"n": {**NODE, "cost": "much"}}, "root_eclasses": ["A"]}, "nodes['n'].cost"),
        ({"nodes": {"n": {**NODE, "cost": -1}}, "root_eclasses": ["A"]}, "nodes['n'].cost"),
        ({"nodes": {"n": {**NODE, "cost": 10**400}}, "root_eclasses": ["A"]}, "nodes['n'].cost"),
        (
            {"nodes": {"n": {**NODE, "children": ["m"]}, "m": {**NODE, "eclass": "M", "subsumed": True}},
             "root_eclasses": ["A"]},
            "nodes['n']: the child class 'M'",
        ),
    ],
)  # fmt: skip
def test_malformed_json_names_the_file_and_the_key(tmp_path: Path, data: Any, place: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(data))
    with pytest.raises(FormatError) as raised:
        load(path)
    assert str(path) in str(raised.value) and place in str(raised.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'{"nodes":\n {', "line 2"),
        (b"", "line 1"),
        (b"\xff\xfe", "byte 0"),
        (b"[" * 200_000, "broken"),
        (b'{"nodes": {"n": {"op": "a", "eclass": "A", "cost": NaN}}, "root_eclasses": ["A"]}', "nodes['n'].cost"),
        (b'{"nodes": ' + b"1" * 5000 + b"}", "broken"),
    ],
)
def test_what_is_not_json_names_the_file_and_the_place(tmp_path: Path, text: bytes, place: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(text)
    with pytest.raises(FormatError) as raised:
        load(path)
    assert str(path) in str(raised.value) and place in str(raised.value)


CSV = """\
# generated by somebody
## root: 7

7,0.5,Relu(3),3
3,2,"Conv2d([1; 2])",1,1
7, 1e-3 ,Id,7
1,0,x
"""


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(CSV)
    frozen = load(path)
    assert frozen.class_key == ["7", "3", "1"] and frozen.roots == [0]
    assert frozen.class_nodes == [[0, 1], [2], [3]] and frozen.node_class == [0, 0, 1, 2]
    assert frozen.node_children == [(1,), (0,), (2, 2), ()]
    assert frozen.costs == [0.5, 0.001, 2.0, 0.0]
    assert frozen.node_key == ["line 4", "line 6", "line 5", "line 7"]
    save(frozen, tmp_path / "e.json")
    assert load(tmp_path / "e.json").costs == frozen.costs


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("7,0.5,Relu(3),3", "7,0.5", "line 4"),
        ("7,0.5,Relu(3),3", ",0.5,Relu(3),3", "line 4"),
        ("7,0.5,Relu(3),3", "7,0.5,Relu(3),", "line 4"),
        ("1,0,x", "1,cheap,x", "line 7"),
        ("1,0,x", "1,-1,x", "line 7"),
        ("1,0,x", "1,inf,x", "line 7"),
        ("1,0,x", "2,0,x", "line 5: the child class '1'"),
        ("## root: 7", "## root: 8", "root class '8'"),
        ("## root: 7", "", "no root class"),
    ],
)
def test_malformed_csv_names_the_file_and_the_line(tmp_path: Path, old: str, new: str, place: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(CSV.replace(old, new))
    with pytest.raises(FormatError) as raised:
        load(path)
    assert str(path) in str(raised.value) and place in str(raised.value)
