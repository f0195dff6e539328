"""Compiled patterns: every way in which an e-graph matches the left side of a rule."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from .codegen import LOOPS, Generated, generate
from .egraph import EGraph
from .pattern import Pat, depth, size, variables
from .touched import Touched


class Search:
    """A search under way.

    Parameters
    ----------
    run : generator
        From :func:`~.codegen.generate`.
    """

    __slots__ = ("_run", "_seen")

    def __init__(self, run: Generator[Any, int, None]) -> None:
        self._run = run
        self._seen = 0
        next(run)

    def more(self, count: int) -> list[tuple[Any, ...]]:
        """The next matches; fewer than ``count`` if there are no more."""
        if count <= 0:
            return []
        try:
            found = self._run.send(self._seen + count)
        except StopIteration:
            return []
        new = list(islice(found, self._seen, None))
        self._seen = len(found)
        return new


class Matcher:
    """One pattern, compiled by :func:`compile_pattern`.

    Attributes
    ----------
    pattern : Pat
        What it matches.
    variables : tuple of str
        Names of its variables, in the order of the bindings.
    depth : int
        Levels of operators, for :meth:`~.egraph.EGraph.touched`.
    """

    def __init__(self, pattern: Pat) -> None:
        self.pattern = pattern
        self.variables = tuple(variables([pattern]))
        self.depth = depth(pattern)
        self._operators = tuple(dict.fromkeys(_operators(pattern)))
        self._common = self.depth == 1  # many rules rewrite one operator, whatever its operands are
        if size(pattern) > LOOPS:
            self._generated  # noqa: B018 - refuses what is too large

    @cached_property
    def _generated(self) -> tuple[Generated, str]:
        return generate([self.pattern])  # takes long, and most rules are about operators that a program doesn't have

    @property
    def source(self) -> str:
        """The generated Python."""
        return self._generated[1]

    @property
    def _search(self) -> Generated:
        return self._generated[0]

    def search(
        self, eg: EGraph, limit: int = sys.maxsize, only: set[int] | Touched | None = None
    ) -> list[tuple[Any, ...]]:
        """Find matches.

        Parameters
        ----------
        eg : EGraph
            Rebuilt.
        limit : int
            Stop after so many.
        only : set of int, optional
            Root classes (canonical ids) to search; all by default.

        Returns
        -------
        list of tuple
            ``(root class, *bindings)``, each once, in an order that depends on the e-graph's history only. A class
            variable binds to a canonical id, an attribute variable to a value, one of a Rest or Each to a tuple.

        Raises
        ------
        EqSatError
            The e-graph needs a rebuild.
        """
        return self.begin(eg, only).more(limit)

    def begin(self, eg: EGraph, only: set[int] | Touched | None = None) -> Search:
        """Begin to find matches; the e-graph mustn't change meanwhile. Parameters and errors of :meth:`search`."""
        eg.check_clean()
        if not all(map(eg.symbols.bit, self._operators)):
            return Search(_again([]))
        if not (self._common and isinstance(only, Touched)):
            return Search(self._search(eg, only))
        known = only.matches.get(self)
        if known is None:
            known = only.matches[self] = Search(self._search(eg, only)).more(sys.maxsize)
        return Search(_again(known))


def _operators(pat: Pat) -> Iterator[str]:
    """Operators without which nothing matches."""
    yield pat.op
    for child in pat.children:
        if isinstance(child, Pat):
            yield from _operators(child)


def _again(known: list[tuple[Any, ...]]) -> Generator[Any, int, None]:
    """A search for matches that are known already."""
    wanted = yield
    while True:
        wanted = yield known[:wanted]


class JoinMatcher:
    """Several patterns that share variables, compiled by :func:`compile_join`.

    Attributes
    ----------
    patterns, variables, depth, sources
        As of :class:`Matcher`; there is one source for each pattern that the search can start from.
    """

    def __init__(self, patterns: Sequence[Pat], ordered: bool = False) -> None:
        self.patterns = tuple(patterns)
        self.variables = tuple(variables(self.patterns))
        self.depth = max(map(depth, self.patterns))
        programs = [generate(self.patterns, pivot, ordered, join=True) for pivot in range(len(self.patterns))]
        self._searches = [search for search, _ in programs]
        self.sources = tuple(source for _, source in programs)

    def search(
        self, eg: EGraph, limit: int = sys.maxsize, only: set[int] | Touched | None = None
    ) -> list[tuple[Any, ...]]:
        """Find matches, as :meth:`Matcher.search` does.

        Parameters
        ----------
        eg : EGraph
            Rebuilt.
        limit : int
            Stop after so many.
        only : set of int, optional
            Classes (canonical ids) of which at least one has to be among the roots.

        Returns
        -------
        list of tuple
            ``((root class, ...), *bindings)``, each once.

        Raises
        ------
        EqSatError
            The e-graph needs a rebuild.
        """
        found: list[tuple[Any, ...]] = []
        if isinstance(only, Touched):
            only = only.classes()
        eg.check_clean()
        for search in self._searches[: 1 if only is None else None]:
            found += Search(search(eg, only)).more(limit - len(found))
        return found


@lru_cache(maxsize=4096)
def compile_pattern(pattern: Pat) -> Matcher:
    """Compile a pattern; an equal one is compiled once.

    Raises
    ------
    RuleError
        It uses a name for different kinds of things, or is too large.
    """
    return Matcher(pattern)


def compile_join(patterns: Sequence[Pat], *, ordered: bool = False) -> JoinMatcher:
    """Compile several patterns that have to match together.

    Each pattern has to share a class variable with an earlier one, or with one that does: the search goes from shared
    classes to their users, never through a Cartesian product.

    Parameters
    ----------
    patterns : sequence of Pat
        One or more.
    ordered : bool
        Only matches whose root classes ascend strictly: of patterns that are alike, every set of matches once.

    Raises
    ------
    RuleError
        The patterns don't hang together, use a name for different kinds of things, or are too large.
    """
    return JoinMatcher(patterns, ordered)
