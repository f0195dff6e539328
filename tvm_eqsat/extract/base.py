"""What an extraction is, who can make one, and the check that each must pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, inf, isclose
from typing import Any, Protocol, TypeVar

from ..egraph.frozen import FrozenEGraph
from ..errors import ExtractionError, OptionError


@dataclass(frozen=True)
class Extraction:
    """One program of an e-graph.

    Attributes
    ----------
    choice : dict of int to int
        The node chosen for each class that the roots need, and for no other.
    cost : float
        Sum of the chosen nodes' costs; a shared node counts once.
    lower_bound : float, optional
        No program of the e-graph is cheaper than this, where the extractor knows.
    """

    choice: dict[int, int]
    cost: float
    lower_bound: float | None = None


class Extractor(Protocol):
    """Picks a program of an e-graph.

    The same arguments give the same result, unless ``time_limit`` (seconds) cuts the work short.
    """

    def __call__(
        self, frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None, **options: Any
    ) -> Extraction:
        """Return a program; :func:`extract` says what is given and raised."""
        ...


EXTRACTORS: dict[str, Extractor] = {}
_MOST = 1e290  # millions of nodes of this cost, with noise, don't overflow
_E = TypeVar("_E", bound=Callable[..., Extraction])


def register(name: str) -> Callable[[_E], _E]:
    """Make an extractor known under a name, as a decorator."""

    def add(extractor: _E) -> _E:
        EXTRACTORS[name] = extractor
        return extractor

    return add


def extract(
    frozen: FrozenEGraph, extractor: str = "auto", *, seed: int = 0, time_limit: float | None = None, **options: Any
) -> Extraction:
    """Pick a program of an e-graph, and check it.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph; node costs are 0 to 1e290, or ``inf`` for a node that must not be chosen.
    extractor : str
        A name in ``EXTRACTORS``.
    seed : int
        Of whatever the extractor draws at random.
    time_limit : float, optional
        Seconds after which the best program so far is returned. Without it the result is the same in every run.
    **options
        Of the extractor.

    Raises
    ------
    OptionError
        There is no such extractor.
    ExtractionError
        A root has no program of finite cost, or a cost is out of range.
    """
    if extractor not in EXTRACTORS:
        raise OptionError(f"there is no extractor {extractor!r}: choose one of {', '.join(sorted(EXTRACTORS))}")
    check_costs(frozen)
    result = EXTRACTORS[extractor](frozen, seed=seed, time_limit=time_limit, **options)
    check(frozen, result)
    return result


def check_costs(frozen: FrozenEGraph) -> None:
    """Make sure that every cost is zero or more, or ``inf``.

    Raises
    ------
    ExtractionError
        One is negative, not a number, or so large that a sum may overflow.
    """
    for i, cost in enumerate(frozen.costs):
        if not 0 <= cost <= _MOST and cost != inf:
            raise ExtractionError(f"node {i} ({frozen.node_op[i]}) costs {cost}: give it 0 to {_MOST:g}, or inf")


def selected(frozen: FrozenEGraph, choice: Sequence[int], lower_bound: float | None = None) -> Extraction:
    """The program that starts at the roots, given a node for every class that it reaches; others may have -1.

    Raises
    ------
    ExtractionError
        A root has -1: it has no program.
    """
    for root in frozen.roots:
        if choice[root] < 0:
            raise no_program(frozen, root)
    program: dict[int, int] = {}
    todo = frozen.roots[::-1]
    while todo:
        c = todo.pop()
        if c not in program:
            program[c] = choice[c]
            todo += frozen.node_children[choice[c]]
    return Extraction(program, fsum(map(frozen.costs.__getitem__, program.values())), lower_bound)


def no_program(frozen: FrozenEGraph, root: int) -> ExtractionError:
    """The error for a root class that has no program."""
    return ExtractionError(
        f"root class {root} ({frozen.class_key[root]}) has no program of finite cost: every choice has a cycle or a "
        "node of infinite cost; give more nodes a finite cost"
    )


def check(frozen: FrozenEGraph, extraction: Extraction) -> None:
    """Make sure that an extraction is a program of the e-graph, and costs what it says.

    Raises
    ------
    ExtractionError
        A needed class has no node, a node isn't of its class or costs ``inf``, a class is chosen that no root needs,
        the program has a cycle, or its cost or lower bound is wrong.
    """
    choice = extraction.choice
    done: dict[int, bool] = {}  # False while a class's children are being visited
    todo = [(root, False) for root in frozen.roots]
    while todo:
        c, leaving = todo.pop()
        if leaving:
            done[c] = True
            continue
        if c in done:
            if not done[c]:
                raise ExtractionError(f"the program has a cycle through class {c}; report it, this is a bug")
            continue
        if c not in choice:
            raise ExtractionError(f"the program needs class {c}, for which no node is chosen; report it, this is a bug")
        i = choice[c]
        if not 0 <= i < frozen.n_nodes or frozen.node_class[i] != c or frozen.costs[i] == inf:
            raise ExtractionError(f"class {c} can't take node {i}; report it, this is a bug")
        done[c] = False
        todo.append((c, True))
        todo += [(child, False) for child in frozen.node_children[i]]
    if len(done) != len(choice):
        extra = min(choice.keys() - done.keys())
        raise ExtractionError(f"class {extra} is chosen, which no root needs; report it, this is a bug")
    cost = fsum(frozen.costs[i] for i in choice.values())
    if not isclose(cost, extraction.cost, rel_tol=1e-9, abs_tol=1e-300):
        raise ExtractionError(f"the program costs {cost}, not {extraction.cost}; report it, this is a bug")
    bound = extraction.lower_bound
    if bound is not None and not bound <= cost * (1 + 1e-9):
        raise ExtractionError(f"the program costs {cost}, less than its lower bound {bound}; report it, this is a bug")
