"""Disjoint sets of small integers."""

from __future__ import annotations


class UnionFind:
    """Union-find with path halving. The caller decides which root survives.

    Attributes
    ----------
    parent : list of int
        Each element's parent; a root is its own. Hot loops read it directly.
    """

    __slots__ = ("parent",)

    def __init__(self, parent: list[int] | None = None) -> None:
        self.parent: list[int] = [] if parent is None else parent

    def find(self, x: int) -> int:
        """The root of an element's set."""
        parent = self.parent
        while parent[x] != x:
            parent[x] = x = parent[parent[x]]
        return x

    def union(self, keep: int, gone: int) -> None:
        """Put the set of root ``gone`` under root ``keep``."""
        self.parent[gone] = keep

    def copy(self) -> UnionFind:
        """An independent copy."""
        return UnionFind(self.parent.copy())
