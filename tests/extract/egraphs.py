"""E-graphs for the extraction tests, and what extraction is by definition."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import fsum, inf

from hypothesis import strategies as st

from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.extract.problem import Problem

Node = tuple[float, Sequence[int]]  # cost, child classes


def egraph(classes: Sequence[Sequence[Node]], roots: Sequence[int], ops: Sequence[str] = ()) -> FrozenEGraph:
    """An e-graph from the nodes of each class. ``ops`` names the nodes, by default n0, n1, …"""
    nodes = [(c, cost, tuple(kids)) for c, members in enumerate(classes) for cost, kids in members]
    numbers: list[list[int]] = [[] for _ in classes]
    for i, (c, _, _) in enumerate(nodes):
        numbers[c].append(i)
    return FrozenEGraph(
        class_nodes=numbers,
        node_class=[c for c, _, _ in nodes],
        node_children=[kids for _, _, kids in nodes],
        node_op=list(ops) or [f"n{i}" for i in range(len(nodes))],
        node_attrs=[()] * len(nodes),
        costs=[float(cost) for _, cost, _ in nodes],
        roots=list(roots),
        node_key=list(range(len(nodes))),
        class_key=[f"c{c}" for c in range(len(classes))],
    )


@st.composite
def small_egraphs(draw: st.DrawFn, max_classes: int = 6, max_nodes: int = 3) -> FrozenEGraph:
    """Any e-graph small enough for brute force: cycles, shared and repeated children, zero and infinite costs."""
    n = draw(st.integers(2, max_classes))
    cost = st.sampled_from([1.0, 2.0, 3.5, 7.25, 5.0, 0.0, 0.0, 1e-9, inf])
    classes = []
    for c in range(n - 1):
        # Mostly children that come later, and few leaves, or most programs would be trivial.
        later = st.integers(c + 1, n - 1)
        kid = st.one_of(later, later, later, later, st.integers(0, n - 1))
        node = st.tuples(cost, st.lists(kid, min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3))
        classes.append(draw(st.lists(node, min_size=draw(st.sampled_from([0, 1, 1, 1, 1])), max_size=max_nodes)))
    classes.append([(draw(cost), [])])
    roots = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))
    return egraph(classes, roots)


@st.composite
def open_problems(draw: st.DrawFn) -> Problem:
    """Problems in which much is open, as reduction seldom leaves them in so small a size; with cycles."""
    n = draw(st.integers(2, 6))
    cost = st.sampled_from([1.0, 2.0, 3.5, 7.25, 5.0, 0.5, 0.0])
    classes: list[list[Node]] = []
    for c in range(n):
        later = st.lists(st.integers(c + 1, n), max_size=2)  # so that each class has a program
        other = st.lists(st.integers(0, n).filter(lambda kid, c=c: kid != c), min_size=1, max_size=3)
        more = draw(st.lists(st.tuples(cost, other), max_size=2))
        classes.append([(draw(cost) + 1.0, draw(later)), *more])
    classes.append([(draw(cost), [])])
    frozen = egraph(classes, draw(st.lists(st.integers(0, n), min_size=1, max_size=3)))
    kids = [tuple(set(children)) for children in (*frozen.node_children, frozen.roots)]
    nodes = [*frozen.class_nodes, [frozen.n_nodes]]
    return Problem(frozen, list(range(n + 2)), nodes, kids, [*frozen.costs, 0.0], [-1] * (n + 1))


def least_cost(
    nodes: Sequence[Sequence[int]], kids: Callable[[int], Sequence[int]], cost: Sequence[float], roots: Sequence[int]
) -> float:
    """Cost of the cheapest program, by trying every choice; inf if there is none."""
    best = inf
    for choice in product(*(members or [-1] for members in nodes)):
        state: dict[int, int] = {}  # 1 on the way down, 2 done

        def total(c: int, choice: tuple[int, ...] = choice, state: dict[int, int] = state) -> float:
            if state.get(c) == 2:
                return 0.0
            if state.get(c) == 1 or choice[c] < 0:
                return inf
            state[c] = 1
            found = cost[choice[c]] + sum(total(kid) for kid in kids(choice[c]))
            state[c] = 2
            return found

        best = min(best, sum(total(root) for root in roots))
    return best


def programs(problem: Problem) -> Iterator[tuple[float, dict[int, int]]]:
    """Cost and nodes, by class, of every program that has no cycle."""
    done = set()
    for choice in product(*problem.nodes):
        live = problem.needs(choice)
        program = {c: choice[c] for c in live}
        built: set[int] = set()
        for _ in live:
            built |= {c for c in live if built.issuperset(problem.kids[choice[c]])}
        if len(built) == len(live) and tuple(program.items()) not in done:
            done.add(tuple(program.items()))
            yield fsum(problem.cost[i] for i in program.values()), program


def optimum(frozen: FrozenEGraph) -> float:
    """Cost of the e-graph's cheapest program."""
    return least_cost(frozen.class_nodes, frozen.node_children.__getitem__, frozen.costs, frozen.roots)


def layers(n: int, seed: int = 0) -> FrozenEGraph:
    """A model of n layers: in each, three matmuls share an input and may be merged, pairwise or all three.

    Layer k costs what the only layer of ``layers(1, seed + k)`` costs.
    """
    classes: list[list[Node]] = [[(0.0, [])]]
    labels = [["input"]]

    def add(op: str, cost: float, kids: Sequence[int]) -> int:
        classes.append([(cost, kids)])
        labels.append([op])
        return len(classes) - 1

    x = 0
    for layer in range(n):
        rng = random.Random(seed + layer)
        weights = [add(f"weight{len(classes)}", 0.0, []) for _ in range(3)]
        prices = [rng.uniform(1.0, 3.0) for _ in range(3)]
        singles = [add("matmul", price, [x, w]) for price, w in zip(prices, weights, strict=True)]
        for members in ([0, 1], [1, 2], [0, 2], [0, 1, 2]):
            w = add("concat", 0.0, [weights[k] for k in members])
            merged = add("matmul", rng.uniform(0.6, 1.1) * sum(prices[k] for k in members), [x, w])
            for k in members:
                classes[singles[k]].append((0.02, [merged]))
                labels[singles[k]].append("slice")
        y = add("relu", 0.5, [add("add", 0.3, singles[:2])])
        x = add("add", 0.3, [y, singles[2]])
        classes[x].append((0.3, [singles[2], y]))
        labels[x].append("add")
    return egraph(classes, [x], [op for members in labels for op in members])
