"""Structurally different programs of one model, good and bad ones, from the same e-graphs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import exp
from typing import NamedTuple

import tvm

from tvm_eqsat.cost.machine import Machine
from tvm_eqsat.cost.node_cost import NodeCost, priced
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.extract import extract
from tvm_eqsat.extract.candidates import extract_candidates
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.rules import ALL
from tvm_eqsat.rules.rule import RuleSet
from tvm_eqsat.search.grow import Grown, Program, grow
from tvm_eqsat.search.program import unload
from tvm_eqsat.search.saturate import Limits

_MOVEMENT_SHARES = (1.0, 0.3, 0.0, 2.0, 6.0)
_CANDIDATES = 6
_NOISE = (0.5, 1.0, 2.0)  # standard deviations of the logarithm of a kind of e-node's factor
_RULE_SHARES = (0.15, 0.4, 0.7)  # of all rules, where they are applied partially
_NODES = 2_000  # of an e-graph with some of the rules only


class Variant(NamedTuple):
    """One program of a model.

    Attributes
    ----------
    origin : str
        How it was found.
    mod : tvm.IRModule
        The program.
    """

    origin: str
    mod: tvm.IRModule


def variants(
    mod: tvm.IRModule,
    machine: Machine,
    count: int,
    price: Callable[[tvm.IRModule], float],
    *,
    options: EqSatOptions | None = None,
    seed: int = 0,
) -> list[Variant]:
    """Programs that compute the same: the original, good ones, and ones that nobody should want.

    They come from the e-graph of all rules, at several prices of data movement, by a diverse search, and at random
    prices; and from e-graphs of some of the rules. If there are more than wanted, they are chosen evenly from the
    fastest to the slowest.

    Parameters
    ----------
    mod : tvm.IRModule
        A module with one dataflow block, as importers make them.
    machine : Machine
        Figures of the target.
    count : int
        How many; fewer, if no more are found.
    price : callable
        Seconds of a program, to choose by.
    options : EqSatOptions, optional
        Limits of the e-graph.
    seed : int
        Of everything random.
    """
    options = options or EqSatOptions.preset("fast")
    module = read_module(mod)
    graph = max((region.graph for region in module.regions), key=lambda g: len(g.nodes))
    found = {_rounded(price(mod)): Variant("original", mod)}
    for origin, other in _graphs(graph, NodeCost(machine, fold_limit=options.fold_limit), options, seed):
        rebuilt = module.rebuild([other if r.graph is graph else None for r in module.regions], options.fold_limit)
        # of one price: the same kernels, called in another order at most
        found.setdefault(_rounded(price(rebuilt)), Variant(origin, rebuilt))
        if len(found) >= 2 * count:
            break
    first, *others = found.values()
    ranked = [found[key] for key in sorted(found) if found[key] is not first]
    wanted = min(count - 1, len(others))
    return [first, *(ranked[round(i * (len(ranked) - 1) / max(1, wanted - 1))] for i in range(wanted))]


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.6g}")


def _graphs(graph: TensorGraph, cost: NodeCost, options: EqSatOptions, seed: int) -> Iterator[tuple[str, TensorGraph]]:
    """Programs without end: first those that anybody would look at, then ever more random ones."""
    rng = random.Random(seed)
    grown = _grown(graph, ALL, cost, options.node_limit, options)
    frozen = grown.egraph.freeze(grown.roots)
    for share in _MOVEMENT_SHARES:
        costs = priced(grown.egraph, frozen, NodeCost(cost.machine, fold_limit=options.fold_limit, movement=share))
        yield f"movement at {share:.0%}", unload(frozen, extract(costs, "local", seed=seed).choice)
    costs = priced(grown.egraph, frozen, cost)
    for number, extraction in enumerate(extract_candidates(costs, _CANDIDATES, seed)):
        yield f"candidate {number}", unload(frozen, extraction.choice)
    for number in range(30):
        noise = _NOISE[number % len(_NOISE)]
        yield f"noise {noise}", unload(frozen, extract(_disturbed(costs, noise, rng), "greedy_dag").choice)
        share = _RULE_SHARES[number % len(_RULE_SHARES)]
        rules = RuleSet(rule for rule in ALL if rng.random() < share)
        part = _grown(graph, rules, cost, _NODES, options)
        some = priced(part.egraph, part.egraph.freeze(part.roots), cost)
        yield f"{share:.0%} of the rules", unload(some, extract(some, "greedy_dag").choice)


def _grown(graph: TensorGraph, rules: RuleSet, cost: NodeCost, nodes: int, options: EqSatOptions) -> Grown:
    def best(grown: Grown) -> Program:
        frozen = priced(grown.egraph, grown.egraph.freeze(grown.roots), cost)
        found = extract(frozen, "greedy_dag")
        return Program(unload(frozen, found.choice), found.cost)

    return grow(graph, rules, Limits(nodes, options.iter_limit), best, restarts=0)


def _disturbed(costs: FrozenEGraph, noise: float, rng: random.Random) -> FrozenEGraph:
    """Each kind of e-node, an operator at about one price, dearer or cheaper by a factor of its own."""
    kinds = [(op, f"{cost:.2g}") for op, cost in zip(costs.node_op, costs.costs, strict=True)]
    factors = {kind: exp(rng.gauss(0.0, noise)) for kind in dict.fromkeys(kinds)}
    return costs.with_costs([cost * factors[kind] for cost, kind in zip(costs.costs, kinds, strict=True)])
