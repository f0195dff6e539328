"""The e-graph's documented behaviour, by example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from tests.egraph.reference import Smallest
from tvm_eqsat.egraph import EGraph
from tvm_eqsat.errors import EqSatError, IllTyped


class Fact(NamedTuple):
    """Shape, and the value if it is known."""

    shape: tuple[int, ...]
    value: int | None


class Facts:
    """A small tensor analysis. ``calls`` counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def make(self, op: str, attrs: tuple[Any, ...], children: Sequence[Fact]) -> Fact | None:
        self.calls += 1
        if op == "input":
            return Fact(attrs, None)
        if op == "const":
            return Fact((), attrs[0])
        if op == "add":
            a, b = children
            known = a.value is not None and b.value is not None
            return Fact(a.shape, a.value + b.value if known else None) if a.shape == b.shape else None  # type: ignore[operator]
        if op == "positive":
            return None if children[0].value == 0 else children[0]
        return children[0]

    def merge(self, a: Fact, b: Fact) -> Fact:
        if a.shape != b.shape:
            raise IllTyped(f"shapes {a.shape} and {b.shape} differ")
        if None not in (a.value, b.value) and a.value != b.value:
            raise EqSatError(f"{a.value} isn't {b.value}")
        return a if b.value is None else b


def scalar(eg: EGraph, name: str) -> int:
    return eg.add(eg.sym("opaque", (name,)), [eg.add(eg.sym("input"))])


# ---------------------------------------------------------------------- adding


def test_equal_nodes_are_one() -> None:
    eg = EGraph()
    a, f = eg.add(eg.sym("a")), eg.sym("f", (1,))
    assert eg.add(f, [a]) == eg.add(f, (a,)) == eg.lookup(f, [a])
    assert eg.add(eg.sym("f", (2,)), [a]) != eg.add(f, [a])
    assert (eg.num_nodes, eg.num_classes) == (3, 3)
    assert eg.lookup(eg.sym("g"), [a]) == -1
    assert (eg.ops[f], eg.attrs[f]) == ("f", (1,))
    assert eg.data(a) is None


def test_ill_typed_nodes_are_refused() -> None:
    eg = EGraph(Facts())
    add = eg.sym("add")
    a, b = eg.add(eg.sym("input", (2,))), eg.add(eg.sym("input", (3,)))
    before = (eg.num_nodes, eg.num_classes, eg.tick())
    assert eg.add(add, [a, b]) == -1
    assert eg.add(add, [a, eg.add(add, [a, b])]) == -1
    assert (eg.num_nodes, eg.num_classes, eg.tick()) == before
    assert eg.data(eg.add(add, [a, a])) == Fact((2,), None)


def test_analysis_is_asked_once_per_distinct_operands() -> None:
    analysis = Facts()
    eg = EGraph(analysis)
    leaves = [scalar(eg, name) for name in "abcdefgh"]
    before = analysis.calls
    for x in leaves:
        for y in leaves:
            assert eg.add(eg.sym("add"), [x, y]) >= 0
    assert analysis.calls == before + 1


# ---------------------------------------------------------------------- uniting


def test_congruence_goes_up_to_the_roots() -> None:
    eg = EGraph()
    a, b = eg.add(eg.sym("a")), eg.add(eg.sym("b"))
    towers = [a, b]
    for _ in range(5):
        towers = [eg.add(eg.sym("f"), [t]) for t in towers]
    assert eg.union(a, b)
    assert not eg.union(b, a)
    assert eg.find(towers[0]) != eg.find(towers[1])
    eg.rebuild()
    assert eg.find(towers[0]) == eg.find(towers[1])
    assert (eg.num_nodes, eg.num_classes) == (7, 6)


def test_data_improves_upwards() -> None:
    eg = EGraph(Facts())
    x, three = scalar(eg, "x"), eg.add(eg.sym("const", (3,)))
    total = eg.add(eg.sym("add"), [eg.add(eg.sym("add"), [x, x]), three])
    assert eg.data(total) == Fact((), None)
    eg.union(x, three)
    eg.rebuild()
    assert eg.data(total) == Fact((), 9)


def test_cycles() -> None:
    eg = EGraph(Smallest())
    a = eg.add(eg.sym("a"))
    f = eg.add(eg.sym("f"), [a])
    eg.union(a, f)
    eg.rebuild()
    c = eg.find(a)
    assert eg.nodes(c) == [(eg.sym("a"),), (eg.sym("f"), c)]
    assert list(eg.users(c)) == [(c, (eg.sym("f"), c))]
    assert eg.data(f) == 1


def test_failed_union_changes_nothing_and_names_the_rule() -> None:
    eg = EGraph(Facts())
    a, b = eg.add(eg.sym("input", (2,))), eg.add(eg.sym("input", (3,)))
    with pytest.raises(IllTyped, match=r"\(2,\) and \(3,\) differ \(united by 'bad-rule'\)"):
        eg.union(a, b, eg.reason_id("bad-rule"))
    with pytest.raises(IllTyped, match=r"differ$"):
        eg.union(a, b)
    assert eg.clean and eg.find(a) != eg.find(b) and eg.num_classes == 2


def test_conflict_found_while_rebuilding_leaves_a_usable_e_graph() -> None:
    eg = EGraph(Facts())
    x, y = scalar(eg, "x"), scalar(eg, "y")
    fx, fy, gx, gy = (eg.add(eg.sym(op), [c]) for op in "fg" for c in (x, y))
    eg.union(fx, eg.add(eg.sym("const", (1,))))
    eg.union(fy, eg.add(eg.sym("const", (2,))))
    saved = eg.snapshot()
    eg.union(x, y)  # makes f(x) = f(y), hence 1 = 2; and g(x) = g(y), which is fine
    with pytest.raises(EqSatError, match=r"[12] isn't [12]"):
        eg.rebuild()
    assert eg.clean
    assert eg.find(gx) == eg.find(gy) and eg.find(fx) != eg.find(fy)
    assert eg.add(eg.sym("h"), [fx]) != eg.add(eg.sym("h"), [fy])
    eg.freeze([gx, fx, fy])
    z = scalar(eg, "z")
    for k in range(9):
        eg.add(eg.sym("user", (k,)), [z])
    eg.union(x, z)  # z has more users and stays: f(x) and f(y) have to be repaired again, and still can't be equal
    with pytest.raises(EqSatError, match=r"[12] isn't [12]"):
        eg.rebuild()
    assert eg.clean and eg.nodes(fx)[0] == eg.nodes(fy)[0] == (eg.sym("f"), z)
    eg.restore(saved)
    eg.rebuild()
    assert len({eg.find(c) for c in (x, y, fx, fy, gx, gy)}) == 6


def test_analysis_that_is_not_monotone_is_reported() -> None:
    eg = EGraph(Facts())
    x = scalar(eg, "x")
    p = eg.add(eg.sym("positive"), [x])
    eg.union(x, eg.add(eg.sym("const", (0,))))
    with pytest.raises(IllTyped, match="positive became ill-typed"):
        eg.rebuild()
    assert eg.clean and eg.data(p) == Fact((), None)


# ---------------------------------------------------------------------- provenance


def test_provenance_is_the_first_rule_that_made_a_node() -> None:
    eg = EGraph()
    first, second = eg.reason_id("first"), eg.reason_id("second")
    assert eg.reason_id("first") == first != second
    f, g, a, b = eg.sym("f"), eg.sym("g"), eg.add(eg.sym("a")), eg.add(eg.sym("b"))
    eg.add(f, [b], first)
    eg.add(f, [b], second)
    eg.add(g, [a])
    eg.add(g, [b], second)
    eg.add(f, [a], second)
    assert [eg.reason(node) for node in ((f, b), (g, a), (g, b), (f, a))] == ["first", "", "second", "second"]
    eg.union(a, b, second)
    eg.rebuild()
    c = eg.find(a)
    assert (eg.reason((f, c)), eg.reason((g, c))) == ("first", "")


# ---------------------------------------------------------------------- snapshots


def test_snapshots_in_any_order() -> None:
    eg = EGraph(Smallest())
    a = eg.add(eg.sym("a"))
    states = [eg.snapshot()]
    for k in range(4):
        eg.union(a, eg.add(eg.sym("f", (k,)), [a]))
        states.append(eg.snapshot())
    sizes = [(1 + k, 1) for k in range(5)]
    for k in (2, 0, 4, 1, 3, 3, 0):
        eg.restore(states[k])
        assert (eg.num_nodes, eg.num_classes) == sizes[k]
        assert len(eg.nodes(a)) == 1 + k
        eg.union(eg.add(eg.sym("g"), [a]), a)  # must not leak into the saved states
        eg.rebuild()
        assert len(list(eg.users(a))) == k + 1


def test_snapshot_drops_pending_work() -> None:
    eg = EGraph()
    a, b = eg.add(eg.sym("a")), eg.add(eg.sym("b"))
    saved = eg.snapshot()
    eg.union(a, b)
    eg.restore(saved)
    assert eg.clean and eg.find(a) != eg.find(b)


def test_snapshot_of_another_e_graph_is_refused() -> None:
    with pytest.raises(EqSatError, match="another e-graph"):
        EGraph().restore(EGraph().snapshot())


# ---------------------------------------------------------------------- what changed


def test_touched_reaches_as_far_as_a_pattern_looks() -> None:
    eg = EGraph()
    a, b = eg.add(eg.sym("a")), eg.add(eg.sym("b"))
    tower = [a]
    for _ in range(3):
        tower.append(eg.add(eg.sym("f"), [tower[-1]]))
    since = eg.tick()
    assert not eg.touched(since, 9) and eg.touched(since, 9).classes() == set()
    assert eg.touched(0) and eg.touched(0).classes() == {*tower, b}
    eg.union(a, b)
    with pytest.raises(EqSatError, match=r"rebuild\(\)"):
        eg.touched(since)
    eg.rebuild()
    a = eg.find(a)
    assert [eg.touched(since, depth).classes() - {a} for depth in (1, 2, 3)] == [
        set(),
        {tower[1]},
        {tower[1], tower[2]},
    ]
    since = eg.tick()
    new = eg.add(eg.sym("g"), [a])
    assert eg.touched(since, 3).classes() == {new}


def test_touched_remembers_every_period() -> None:
    """Whenever a level is asked for first: what changed since a period is the same."""
    early, late = EGraph(), EGraph()
    periods = []
    for eg in (early, late):
        below = [eg.add(eg.sym(name)) for name in "abcd"]
        above = [eg.add(eg.sym("f"), [c]) for c in below]
        top = [eg.add(eg.sym("g"), [c]) for c in above]
        for c in below:
            periods.append(eg.tick())
            if eg is early:
                eg.touched(0, 3)
            eg.union(c, eg.add(eg.sym("new", (c,))))
            eg.rebuild()
        for k in range(4):
            assert eg.touched(periods[k]).classes() == set(below[k:])
            assert eg.touched(periods[k], 2).classes() == {*below[k:], *above[k:]}
            assert eg.touched(periods[k], 3).classes() == {*below[k:], *above[k:], *top[k:]}
    assert periods[:4] == periods[4:] == sorted(set(periods))


def test_touched_counts_nodes_whose_children_were_united() -> None:
    """Only the pair's class can match ``pair(x, x)`` now, though neither it nor its operands gained a node."""
    eg = EGraph()
    a, b = eg.add(eg.sym("a")), eg.add(eg.sym("b"))
    pair = eg.add(eg.sym("pair"), [a, b])
    since = eg.tick()
    eg.union(a, b)
    eg.rebuild()
    assert eg.touched(since).classes() == {eg.find(a), pair}


def test_touched_counts_operands_with_better_data() -> None:
    """A guard may look at the data of a variable, which is one level below the pattern's last operator."""
    eg = EGraph(Facts())
    x, y = scalar(eg, "x"), scalar(eg, "y")
    fx, three = eg.add(eg.sym("f"), [x]), eg.add(eg.sym("const", (3,)))
    ffx = eg.add(eg.sym("f"), [fx])
    top = eg.add(eg.sym("add"), [ffx, y])
    since = eg.tick()
    eg.union(x, three)
    eg.rebuild()
    assert eg.data(ffx) == Fact((), 3) and eg.data(top) == Fact((), None)
    assert eg.touched(since).classes() == {eg.find(x), fx, ffx, top}


# ---------------------------------------------------------------------- freezing


def test_freeze_keeps_what_the_roots_reach() -> None:
    eg = EGraph()
    a, b, unused = (eg.add(eg.sym(name)) for name in ("a", "b", "unused"))
    f = eg.add(eg.sym("f", (7,)), [b])
    g = eg.add(eg.sym("g"), [f, a])
    eg.union(f, a)
    eg.add(eg.sym("h"), [unused])
    frozen = eg.freeze([g, a])
    assert (frozen.n_nodes, frozen.n_classes) == (4, 3)
    assert frozen.class_key == sorted({eg.find(a), eg.find(b), eg.find(g)})
    assert [frozen.class_key[root] for root in frozen.roots] == [eg.find(g), eg.find(a)]
    for c, members in enumerate(frozen.class_nodes):
        assert [frozen.node_key[i] for i in members] == eg.nodes(frozen.class_key[c])
        for i in members:
            sym, *children = frozen.node_key[i]
            assert frozen.node_class[i] == c
            assert (frozen.node_op[i], frozen.node_attrs[i]) == (eg.ops[sym], eg.attrs[sym])
            assert [frozen.class_key[k] for k in frozen.node_children[i]] == children
    assert frozen.costs == [1.0] * 4


def test_costs_are_replaced_and_nothing_else() -> None:
    eg = EGraph()
    frozen = eg.freeze([eg.add(eg.sym("f"), [eg.add(eg.sym("a"))])])
    priced = frozen.with_costs([2, 3])
    assert (priced.costs, frozen.costs) == ([2.0, 3.0], [1.0, 1.0])
    assert priced.node_children is frozen.node_children
    with pytest.raises(EqSatError, match="1 costs for 2 nodes"):
        frozen.with_costs([1.0])
