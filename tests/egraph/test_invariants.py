"""Random histories of additions, unions, rebuilds, snapshots and restores, against naive congruence closure."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.egraph.reference import Closure, Smallest
from tvm_eqsat.egraph import EGraph

ARITY = {"a": 0, "b": 0, "c": 0, "f": 1, "g": 2, "h": 3}

index = st.integers(0, 10**6)
commands = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(sorted(ARITY)), st.integers(0, 1), index, index, index),
        st.tuples(st.just("add"), st.sampled_from("fgh"), st.just(0), index, index, index),
        st.tuples(st.just("union"), index, index),
        st.tuples(st.just("rebuild")),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("restore"), index),
    ),
    max_size=60,
)


class History:
    """An e-graph and its model, driven by the same commands."""

    def __init__(self) -> None:
        self.eg = EGraph(Smallest())
        self.model = Closure()
        self.ids: list[int] = []  # the class that add() returned for each of the model's terms
        self.saved: list[tuple[Any, Closure, list[int]]] = []

    def run(self, command: tuple[Any, ...]) -> None:
        kind, *args = command
        if kind == "add":
            self.add(*args)
        elif kind == "union" and self.ids:
            a, b = (k % len(self.ids) for k in args)
            self.model.equal.append((a, b))
            self.eg.union(self.ids[a], self.ids[b])
        elif kind == "rebuild":
            self.eg.rebuild()
            self.check()
        elif kind == "snapshot":
            self.saved.append((self.eg.snapshot(), self.model.copy(), list(self.ids)))
        elif kind == "restore" and self.saved:
            snapshot, model, ids = self.saved[args[0] % len(self.saved)]
            self.eg.restore(snapshot)
            self.model, self.ids = model.copy(), list(ids)
            self.check()

    def add(self, op: str, attr: int, *children: int) -> None:
        if ARITY[op] and not self.ids:
            return
        terms = tuple(child % len(self.ids) for child in children[: ARITY[op]])
        self.model.terms.append(((op, attr), terms))
        self.ids.append(self.eg.add(self.eg.sym(op, (attr,)), [self.ids[t] for t in terms]))

    def check(self) -> None:
        eg, least = self.eg, self.model.partition()
        assert eg.clean
        classes = eg.classes()
        # The classes are the model's.
        found = [eg.find(c) for c in self.ids]
        assert len(set(found)) == len(set(least)) == len(set(zip(found, least, strict=True))) == eg.num_classes
        assert sorted(set(found)) == classes
        # The nodes are, too: each is canonical, in one class, found in the hash-cons, under its operator and operands.
        nodes = [(c, node) for c in classes for node in eg.nodes(c)]
        assert len(nodes) == len({node for _, node in nodes}) == eg.num_nodes
        assert eg.num_nodes == len(set(self.model.signatures(least)))
        for c, node in nodes:
            assert all(eg.find(child) == child for child in node[1:])
            assert eg.lookup(node[0], node[1:]) == c == eg.find(c)
        assert sorted(pair for op in ARITY for pair in eg.with_op(op)) == sorted(nodes)
        for c in classes:
            ops = {eg.ops[node[0]] for node in eg.nodes(c)}
            assert ops == {op for op in ARITY if eg._operators[c] & eg.symbols.bit(op)}
            assert sorted(eg.users(c)) == sorted(pair for pair in nodes if c in pair[1][1:])
        self.check_data(nodes)

    def check_data(self, nodes: list[tuple[int, tuple[int, ...]]]) -> None:
        size = {c: 10**9 for c, _ in nodes}
        for _ in range(len(nodes)):
            for c, node in nodes:
                size[c] = min(size[c], 1 + sum(size[child] for child in node[1:]))
        assert {c: self.eg.data(c) for c in size} == size


@settings(max_examples=250)
@given(commands)
def test_agrees_with_naive_closure(history: list[tuple[Any, ...]]) -> None:
    run = History()
    for command in history:
        run.run(command)
    run.run(("rebuild",))
    for k in range(len(run.saved)):
        run.run(("restore", k))


@settings(max_examples=60)
@given(commands, st.lists(st.tuples(index, index), min_size=1, max_size=5))
def test_order_of_unions_does_not_matter(history: list[tuple[Any, ...]], pairs: list[tuple[int, int]]) -> None:
    partitions = []
    for order in (pairs, pairs[::-1]):
        run = History()
        for command in history:
            if command[0] == "add":
                run.run(command)
        for a, b in order:
            run.run(("union", a, b))
        run.run(("rebuild",))
        first: dict[int, int] = {}
        partitions.append([first.setdefault(run.eg.find(c), k) for k, c in enumerate(run.ids)])
    assert partitions[0] == partitions[1]


@settings(max_examples=60)
@given(commands, commands)
def test_restored_e_graph_continues_like_the_original(before: list[Any], after: list[Any]) -> None:
    """What happens after a restore is what would have happened without the detour."""
    growing = [command for command in after if command[0] in ("add", "union", "rebuild")]
    straight, detour = History(), History()
    for command in before:
        straight.run(command)
        detour.run(command)
    straight.run(("snapshot",))
    detour.run(("snapshot",))
    for command in growing:
        detour.run(command)
    detour.run(("restore", len(detour.saved) - 1))
    for run in (straight, detour):
        for command in growing:
            run.run(command)
        run.run(("rebuild",))
    assert straight.ids == detour.ids
    assert straight.eg.tick() == detour.eg.tick()
    assert [straight.eg.nodes(c) for c in straight.eg.classes()] == [detour.eg.nodes(c) for c in detour.eg.classes()]
