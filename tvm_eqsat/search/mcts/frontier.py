"""The root of the search tree: the program as it is now, and the regions of it that were tried."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..grow import Program
from ..sequential import Price
from .region import Region
from .window import Fingerprint, Outline, Window

_Seed = tuple[Any, ...]

_SIZES = (12, 24, 48, 96, sys.maxsize)  # operators in a window; the last is the whole program
_ATTEMPTS = 30  # at a window that wasn't tried yet
_ALIKE = 0.5  # how often a new window is one like those that paid
_FLOOR = 0.1  # of the mean price: what an operator counts at least when centres are drawn


@dataclass
class Child:
    """A region of the program.

    Attributes
    ----------
    window : Window
        Where it is.
    region : Region
        What was tried there; windows that are alike share it.
    seed : tuple
        What its centre looks like, and its size.
    """

    window: Window
    region: Region
    seed: _Seed


class Frontier:
    """The current program, its windows and their regions.

    Parameters
    ----------
    program : Program
        Where the search starts.
    price : callable
        Price of one operator.
    make : callable
        Makes the region of a window's program.
    rng : random.Random
        Draws windows.

    Attributes
    ----------
    children : dict
        The regions being searched, by the nodes that their windows compute.
    """

    def __init__(self, program: Program, price: Price, make: Callable[[Program], Region], rng: random.Random) -> None:
        self._price = price
        self._make = make
        self._rng = rng
        self._regions: dict[Fingerprint, Region] = {}
        self._view = _View(program, price)
        self._paid: dict[_Seed, None] = {}  # of the last regions that were rewritten
        self.children: dict[frozenset[int], Child] = {}

    @property
    def program(self) -> Program:
        """The current program, with its cost."""
        return self._view.outline.program

    def widen(self) -> Child | None:
        """Open one more region: like one that paid, or around an operator that is drawn by its price.

        None if no new one was found.
        """
        view = self._view
        if not view.outline.order:
            return None
        alike = [(i, seed[-1]) for seed in self._paid for i in view.outline.order if view.look(i) == seed[:-1]]
        alike = [pair for pair in alike if pair not in view.tried]
        for _ in range(_ATTEMPTS):
            if alike and self._rng.random() < _ALIKE:
                centre, size = alike.pop(0)
            else:
                centre, size = view.draw(self._rng), _SIZES[int(self._rng.random() * len(_SIZES))]
            if (centre, size) not in view.tried:
                view.tried.add((centre, size))
                child = self._child(view.around(centre, size), (*view.look(centre), size))
                if child is not None:
                    return child
        return None

    def _child(self, nodes: Sequence[int], seed: _Seed) -> Child | None:
        """The region of some nodes, if anything is left to try or to gain there."""
        window = self._view.outline.window(nodes)
        if window.nodes in self.children:
            return None
        region = self._regions.get(window.fingerprint)
        if region is None:
            region = self._regions[window.fingerprint] = self._make(window.program)
        if region.exhausted and not region.gain:
            return None
        child = self.children[window.nodes] = Child(window, region, seed)
        return child

    def commit(self, least_gain: float) -> list[Child]:
        """Put in place what was found, the most profitable first, and keep the regions that this leaves as they are.

        Returns the regions that were rewritten.
        """
        done: list[Child] = []
        while True:
            child = max(self.children.values(), key=lambda child: child.region.gain, default=None)
            if child is None or child.region.gain <= least_gain:
                break
            if self._replace(child, least_gain):
                done.append(child)
        if done:
            self._paid = dict.fromkeys(child.seed for child in done if child.seed[-1] < _SIZES[-1])
        return done

    def _replace(self, child: Child, least_gain: float) -> bool:
        """Put the program of a region in place. If that saves nothing after all, the region is given up: False."""
        program, place = self._view.outline.replace(child.window, child.region.program)
        view = _View(program, self._price)
        if self.program.cost - view.outline.program.cost <= least_gain:
            del self.children[child.window.nodes]
            return False
        before = list(self.children.values())
        self._view, self.children = view, {}
        for other in before:
            if other.window.nodes.isdisjoint(child.window.nodes):
                self._child([place[i] for i in other.window.nodes], other.seed)
        used = {id(other.region) for other in self.children.values()}
        for other in before:
            if id(other.region) not in used:
                other.region.forget()
        return True


class _View:
    """A program, and where windows were opened on it."""

    def __init__(self, program: Program, price: Price) -> None:
        self.outline = Outline(program, price)
        self.tried: set[tuple[int, int]] = set()
        order = self.outline.order
        least = _FLOOR * self.outline.program.cost / max(1, len(order))
        self._weights = [self.outline.prices[i] + least for i in order]
        self._operators = set(order)

    def draw(self, rng: random.Random) -> int:
        """An operator, dear ones more often."""
        return rng.choices(self.outline.order, self._weights)[0]

    def look(self, i: int) -> tuple[Any, ...]:
        """What operators that are alike have in common."""
        node = self.outline.program.graph.nodes[i]
        return node.op, node.attrs, node.type

    def around(self, centre: int, size: int) -> list[int]:
        """The nearest operators around one."""
        nodes, users = self.outline.program.graph.nodes, self.outline.users
        found = {centre}
        todo = [centre]
        for i in todo:  # grows
            for k in (*nodes[i].inputs, *users[i]):
                if k in self._operators and k not in found:
                    found.add(k)
                    todo.append(k)
            if len(found) >= size:
                break
        return todo[:size]
