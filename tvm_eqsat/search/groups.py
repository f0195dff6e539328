"""Sites of k-way rules: matches that share operands, and are rewritten together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from ..egraph.egraph import EGraph
from .functions import Match, PerEGraph, Remembered

_Members = dict[int, Match]  # by root class


class Groups:
    """The matches of a k-way rule that were found so far, by what their members share.

    Parameters
    ----------
    rule : str
        The rule's name.
    shared : sequence of int
        Entries of a match in which the members of a group agree.
    apart : callable
        From a match to the e-classes that distinguish it.
    key : Remembered, optional
        Something else in which they agree; None leaves a match out.

    They are remembered: after :meth:`EGraph.restore <tvm_eqsat.egraph.egraph.EGraph.restore>`, make a new one.
    """

    def __init__(
        self, rule: str, shared: Sequence[int], apart: Callable[[Match], list[int]], key: Remembered | None
    ) -> None:
        self._rule = rule
        self._shared = itemgetter(*shared)
        self._apart = apart
        self._key = key
        self._members = PerEGraph[dict[Any, _Members]](dict)
        self._seen = PerEGraph[set[Any]](set)

    def grown(self, egraph: EGraph, matches: Sequence[Match]) -> list[tuple[Match, ...]]:
        """The groups that some matches, just found, make larger or new, with all their members.

        Where an operand that members share became another class, their e-nodes changed, and they come again.
        """
        find, groups, seen = egraph.find, self._members.of(egraph), self._seen.of(egraph)
        keys = self._key.of(egraph, matches) if self._key else repeat(())
        larger: dict[Any, _Members] = {}
        for match, shared, extra in zip(matches, map(self._shared, matches), keys):  # noqa: B905 - repeat never ends
            if extra is not None:
                key = shared, extra
                members = larger.get(key)
                if members is None:
                    members = larger[key] = groups.setdefault(key, {})
                members.setdefault(match[0], match)
        merged: dict[int, bool] = {}
        found = []
        for key, members in larger.items():
            if len(members) < 2:
                continue
            current: _Members = {}
            for root, match in members.items():
                current.setdefault(find(root), match)
            groups[key] = current
            kept = [root for root in sorted(current) if not self._merged(egraph, current[root], merged)]
            if len(kept) > 1:
                identity = key, tuple(kept)
                if identity not in seen:
                    seen.add(identity)
                    found.append(tuple([current[root] for root in kept]))
        return found

    def _merged(self, egraph: EGraph, match: Match, known: dict[int, bool]) -> bool:
        """Whether an operand that distinguishes members is itself the work of a merging rule: that would never end."""
        for c in self._apart(match):
            if c not in known:
                known[c] = egraph.data(c).merged or egraph.maker(c) == self._rule
            if known[c]:
                return True
        return False
