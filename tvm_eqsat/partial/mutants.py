"""Mutants: other programs of the same inputs and the same type, equal to a given one everywhere or in part.

A mutant that is wrong somewhere is only a step. What leaves :func:`mutants` is equal everywhere: as it is, with a halo
(see :mod:`.exchange`), or with its wrong boxes recomputed (see :mod:`.corrections`), and each has passed the test of
:func:`~tvm_eqsat.partial.corrector.difference`. After H. Wang et al., "PET: Optimizing Tensor Programs with Partially
Equivalent Transformations and Automated Corrections", OSDI 2021, sections 3 to 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, NamedTuple

from ..errors import IllTyped
from ..graph.operator import OPERATORS, Fusion
from ..graph.tensor_graph import TensorGraph
from . import branches, chains, convolution, product, transposed
from .corrections import corrected
from .corrector import difference
from .draft import is_weight
from .exchange import Convolution, Exchange, Move, exchanged
from .exchanges import exchanges

#: Share of the result that a mutant must leave right to be corrected.
LEAST_RIGHT = 0.4
_ALIKE = 2  # mutants that differ in their parameters alone
_CORRECTED = 4  # mutants that are corrected
_SLACK = 1.25  # times the program's own price, that a mutant may cost: neighbours can make it cheaper


class Recipe(NamedTuple):
    """How a mutant is made; it may fit programs of other shapes.

    Attributes
    ----------
    kind : str
        ``"exchange"``, ``"chain"``, or a name from the ``FORMS`` of this package's modules.
    params : tuple
        What the kind needs; of a chain the recipe of each operator, ``()`` for what stays as it is.
    corrected : bool
        Whether wrong boxes are recomputed.
    """

    kind: str
    params: tuple[Any, ...] = ()
    corrected: bool = False


class Mutant(NamedTuple):
    """A program that equals the original everywhere.

    Attributes
    ----------
    name : str
        What reports call it.
    graph : TensorGraph
        The program; its inputs have the original's index.
    recipe : Recipe
        How it was made.
    """

    name: str
    graph: TensorGraph
    recipe: Recipe


Price = Callable[[TensorGraph], float]


def mutants(
    program: TensorGraph,
    *,
    depth: int = 4,
    limit: int = 16,
    price: Price | None = None,
    alike: int = _ALIKE,
    corrections: int = _CORRECTED,
    slack: float = _SLACK,
) -> list[Mutant]:
    """Programs that equal a given one and are computed differently, the cheapest first.

    Parameters
    ----------
    program : TensorGraph
        A convolution, transposed convolution or matrix product; up to four of these one after the other or added up,
        with linear operators between; or several parallel convolutions or products (then with an output for each).
        Static shapes.
    depth : int
        Operators one after the other that a mutant of one operator may have before it is corrected; of more, so many
        more. Data movements in a row are one (*reshape∘transpose* in PET), and so is a sum of any number of terms.
    limit : int
        The most mutants.
    price : callable, optional
        A lower bound of what a program costs; mutants whose bound is far above the program's are left out. By default
        all that is known is how much they compute and move.
    alike : int
        The most mutants that differ in their parameters alone.
    corrections : int
        The most mutants that are tried to be corrected.
    slack : float
        How much more a mutant may cost than the program: what surrounds it can make it cheaper.

    Returns
    -------
    list of Mutant
        Empty where nothing is known about a program of this kind.
    """
    price = price or _effort
    most = slack * price(program)
    drafts = [draft for draft in _drafts(program, depth, price) if draft.price(price) <= most]
    drafts.sort(key=lambda d: (d.right < 1, float(f"{d.cost:.2g}"), holes(d.graph), d.recipe.kind, d.recipe.params))
    exact, partial = ([d for d in drafts if (d.right == 1) == whole] for whole in (True, False))
    found = _accepted(program, exact, limit, alike)
    if len(found) == limit:  # what costs more wouldn't be kept
        partial = [draft for draft in partial if draft.cost < found[-1][0]]
    for _, mutant in _accepted(program, partial, corrections, alike):
        found.append((price(mutant.graph), mutant))
    found.sort(key=lambda pair: pair[0])
    return [mutant for cost, mutant in found[:limit] if cost <= most]


def _accepted(program: TensorGraph, drafts: list[_Draft], limit: int, alike: int) -> list[tuple[float, Mutant]]:
    """The first drafts that can be made exact, with what they cost before."""
    found: list[tuple[float, Mutant]] = []
    families: Counter[str] = Counter()
    for draft in drafts:
        if len(found) == limit:
            break
        if families[draft.family] < alike:
            partly = draft.right < 1
            name = f"{draft.name}-corrected" if partly else draft.name
            mutant = verified(program, draft.recipe._replace(corrected=partly), name)
            if mutant is not None:
                families[draft.family] += 1
                found.append((draft.cost, mutant))
    return found


def build(program: TensorGraph, recipe: Recipe) -> TensorGraph:
    """The program that a recipe makes of another one, not corrected and not tested.

    Raises
    ------
    IllTyped
        It doesn't fit.
    """
    kind, params = recipe.kind, recipe.params
    try:
        if kind == "exchange":
            moves, dilation, before, halo = params
            return exchanged(Convolution.of(program), Exchange(tuple(Move(*m) for m in moves), dilation, before, halo))
        if kind == "chain":
            return chains.composed(program, [Recipe(*of_one) if of_one else None for of_one in params], build)
        if kind in convolution.FORMS:
            return convolution.FORMS[kind](Convolution.of(program), *params)
        for family in (transposed, product, branches):
            if kind in family.FORMS:
                return family.FORMS[kind](program, *params)
    except (TypeError, ValueError) as err:  # parameters of another kind (IllTyped is a TypeError)
        raise IllTyped(f"{kind} doesn't fit: {err}") from err
    raise IllTyped(f"no mutant is of the kind {kind!r}")


def verified(program: TensorGraph, recipe: Recipe, name: str) -> Mutant | None:
    """The mutant that a recipe makes, if it equals the program everywhere."""
    try:
        graph = build(program, recipe)
        original, mutant = branches.joined(program), branches.joined(graph)
        wrong = difference(original, mutant, most=1 - LEAST_RIGHT)
        if wrong.fraction > 1 - LEAST_RIGHT:
            return None
        if recipe.corrected and not wrong.equal:
            graph = mutant = corrected(original, mutant, wrong)
            wrong = difference(original, mutant)
    except IllTyped:
        return None
    return Mutant(name, graph, recipe) if wrong.equal else None


_Naming = tuple[str, str]  # the name of a mutant, and of those that are like it


class _Draft:
    """A mutant that isn't tested yet."""

    __slots__ = ("cost", "family", "graph", "name", "recipe", "right")

    def __init__(self, naming: _Naming, recipe: Recipe, graph: TensorGraph, right: float) -> None:
        self.name, self.family = naming
        self.recipe = recipe
        self.graph = graph
        self.right = right
        self.cost = inf

    def price(self, price: Price) -> float:
        """What it costs at least."""
        self.cost = price(self.graph)
        return self.cost


def _drafts(program: TensorGraph, depth: int, price: Price) -> Iterator[_Draft]:
    """Everything that can be made of a program within the depth, without duplicates."""
    known = {identity(program)}
    depth += steps(program) - 1
    for naming, recipe, right in (*_recipes(program), *_chains(program, price)):
        try:
            graph = build(program, recipe)
        except IllTyped:
            continue
        key = identity(graph)
        if key not in known and steps(graph) <= depth:
            known.add(key)
            yield _Draft(naming, recipe, graph, right)


def _recipes(program: TensorGraph) -> Iterator[tuple[_Naming, Recipe, float]]:
    """Names, recipe and share of the result that is right."""
    forms: list[tuple[str, tuple[int, ...]]] = []
    try:
        conv = Convolution.of(program)
    except IllTyped:
        pass
    else:
        forms += convolution.forms(conv)
        for exchange, right in exchanges(conv, LEAST_RIGHT):
            dense = exchange.dilation != conv.attrs.dilation and max(exchange.dilation) == 1
            name = f"{'dilated-to-dense' if dense else 'exchange'}-{exchange.name()}"
            yield (name, exchange.family()), Recipe("exchange", tuple(exchange)), right
    for family in (transposed, product, branches):
        try:
            forms += family.forms(program)
        except IllTyped:
            continue
    for kind, params in forms:
        yield ("-".join(map(str, (kind, *params))), kind), Recipe(kind, params), 1.0


def _chains(program: TensorGraph, price: Price) -> Iterator[tuple[_Naming, Recipe, float]]:
    """The same for what several operators are together."""
    try:
        for naming, recipes, right in chains.forms(program, _recipes, build, price):
            yield naming, Recipe("chain", tuple([recipe or () for recipe in recipes])), right
    except IllTyped:
        return


def identity(graph: TensorGraph) -> tuple[object, ...]:
    """What two programs that compute the same in the same way have in common."""
    place = {i: k for k, i in enumerate(graph.live())}
    nodes = tuple(
        (graph.nodes[i].op, graph.nodes[i].attrs, tuple(place[c] for c in graph.nodes[i].inputs)) for i in place
    )
    return nodes, tuple(place[i] for i in graph.outputs)


def steps(graph: TensorGraph) -> int:
    """Operators one after the other; data movements in a row are one, and so are additions.

    What is done to weights alone doesn't count: it happens once, before the first run.
    """
    found: dict[int, tuple[int, str]] = {}
    for i in graph.live():
        node = graph.nodes[i]
        if not node.inputs:
            weight = node.op != "input" or bool(node.attrs[OPERATORS["input"].field_index("weight")])
            found[i] = (-1 if weight else 0, "")
            continue
        before = [found[c] for c in node.inputs]
        if node.op == "reshape":  # a view
            found[i] = before[0]
            continue
        kind = "move" if OPERATORS[node.op].fusion == Fusion.INJECTIVE else node.op
        count = max(n + (last != kind or kind not in ("move", "add")) if n >= 0 else -1 for n, last in before)
        found[i] = (count, kind)
    return max(found[i][0] for i in graph.outputs)


def holes(graph: TensorGraph) -> int:
    """Number of convolutions with a stride or dilation: what rules for dense ones (Winograd, say) can't work with."""
    convolutions: list[Any] = [graph.nodes[i].attrs for i in graph.live() if graph.nodes[i].op == "conv2d"]
    return sum(max(*a.strides, *a.dilation) > 1 for a in convolutions)


def _effort(graph: TensorGraph) -> float:
    """Arithmetic and traffic, in operations: a byte counts as four."""
    total = 0.0
    for i in graph.live():
        node = graph.nodes[i]
        types: list[Any] = [graph.nodes[c].type for c in node.inputs]
        if types and node.op != "reshape" and not is_weight(graph, i):
            out: Any = node.type
            traffic = sum(t.bytes() for t in (*types, out))
            total += OPERATORS[node.op].flops(types, out, node.attrs) + 4.0 * traffic
    return total
