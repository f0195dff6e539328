"""Compiled patterns: every way in which an e-graph matches the left side of a rule."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .codegen import generate
from .egraph import EGraph
from .pattern import Pat, depth, variables
from .touched import Touched


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
    source : str
        The generated Python.
    """

    def __init__(self, pattern: Pat) -> None:
        self.pattern = pattern
        self.variables = tuple(variables([pattern]))
        self.depth = depth(pattern)
        self._search, self.source = generate([pattern])
        self._common = self.depth == 1  # many rules rewrite one operator, whatever its operands are

    def search(self, eg: EGraph, limit: int = sys.maxsize, only: set[int] | None = None) -> list[tuple[Any, ...]]:
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
        if not (self._common and isinstance(only, Touched)):
            return _run(self._search, eg, limit, only)
        known = only.matches.get(self)
        if known is None:
            known = _run(self._search, eg, limit, only)
            if len(known) < limit:
                only.matches[self] = known
        return known[:limit]


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

    def search(self, eg: EGraph, limit: int = sys.maxsize, only: set[int] | None = None) -> list[tuple[Any, ...]]:
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
        for search in self._searches[: 1 if only is None else None]:
            found += _run(search, eg, limit - len(found), only)
        return found


def _run(search: Any, eg: EGraph, limit: int, only: set[int] | None) -> list[tuple[Any, ...]]:
    eg.check_clean()
    found: list[tuple[Any, ...]] = search(eg, limit, only) if limit > 0 else []
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
