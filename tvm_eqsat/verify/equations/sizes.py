"""Sizes that aren't known yet: linear forms over unknowns, equated one by one, and given values at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import gcd

import numpy as np

from ...errors import IllTyped

#: A linear form: the coefficient of each unknown, and under 0 the constant.
Form = dict[int, int]


def number(value: int) -> Form:
    """The form that is just a number."""
    return {0: value} if value else {}


def combine(a: Form, b: Form, factor: int = 1) -> Form:
    """``a + factor * b``."""
    out = dict(a)
    for unknown, coefficient in b.items():
        out[unknown] = out.get(unknown, 0) + factor * coefficient
    return {u: c for u, c in out.items() if c}


@dataclass
class Sizes:
    """A system of equations between sizes.

    Attributes
    ----------
    kernel : dict of int to int
        Unknowns that are the length of a kernel, with the largest value they may have: they become odd numbers, as a
        kernel of even length has no middle.
    smallest : int
        Where the values of the others begin.
    """

    solved: dict[int, Form] = field(default_factory=dict)
    kernel: dict[int, int] = field(default_factory=dict)
    smallest: int = 2
    _count: int = 0
    _functions: dict[int, tuple[Callable[[list[int]], int], list[Form]]] = field(default_factory=dict)
    _known: dict[object, Form] = field(default_factory=dict)
    _left: list[Form] = field(default_factory=list)  # forms that must be zero, and that no unknown could be solved for

    def fresh(self) -> Form:
        """A new unknown."""
        self._count += 1
        return {self._count: 1}

    def resolve(self, form: Form) -> Form:
        """The form without solved unknowns."""
        while True:
            u = next((u for u in form if u in self.solved), 0)
            if not u:
                return form
            form = combine({k: c for k, c in form.items() if k != u}, self.solved[u], form[u])

    def equate(self, a: Form, b: Form, where: str) -> None:
        """Demand that two sizes are equal.

        Raises
        ------
        IllTyped
            They can't be.
        """
        zero = self.resolve(combine(a, b, -1))
        unknowns = [u for u in zero if u]
        constant = zero.get(0, 0)
        if not unknowns:
            if constant:
                raise IllTyped(f"{where}: a size would have to be {abs(constant)} larger than itself")
            return
        divisor = gcd(*zero.values())
        zero = {u: c // divisor for u, c in zero.items()}
        signs = {zero[u] > 0 for u in unknowns} | ({constant > 0} if constant else set())
        if len(signs) == 1:
            raise IllTyped(f"{where}: sizes would have to be zero or less")
        free = [u for u in unknowns if abs(zero[u]) == 1 and u not in self._functions]
        if not free:
            self._left.append(zero)
            return
        u = free[-1]
        value = {k: -c * zero[u] for k, c in zero.items() if k != u}
        self.solved[u] = value
        if u in self.kernel and list(value.values()) == [1]:
            self.mark_kernel(value, self.kernel[u])

    def mark_kernel(self, form: Form, largest: int = 3) -> None:
        """If the size is a single unknown: it is the length of a kernel."""
        found = self.resolve(form)
        if len(found) == 1 and 0 not in found and list(found.values()) == [1]:
            (u,) = found
            self.kernel[u] = min(largest, self.kernel.get(u, largest))

    def function(self, name: object, fn: Callable[[list[int]], int], args: list[Form]) -> Form:
        """A size that isn't linear in others; equal calls are the same size."""
        resolved = [self.resolve(a) for a in args]
        key = (name, tuple(tuple(sorted(a.items())) for a in resolved))
        if key not in self._known:
            self._known[key] = self.fresh()
            self._functions[self._count] = fn, resolved
        return self._known[key]

    def choose(self, rng: np.random.Generator, equal: int = 0) -> Callable[[Form], int]:
        """Values for all unknowns: a function from forms to sizes.

        Parameters
        ----------
        rng : numpy.random.Generator
            Decides them: small, different from each other.
        equal : int
            If not 0, the value that all of them have but kernels.

        Raises
        ------
        IllTyped
            A size wouldn't be positive, or an equation doesn't hold: try again.
        """
        values: dict[int, int] = {0: 1}
        first = self.smallest + rng.permutation(4)
        sizes = iter([*first.tolist(), *range(self.smallest + 4, self.smallest + 4 + self._count)])
        odd = iter([1, 3, 3, 1, 1, 3] * (self._count + 1))
        if rng.integers(2):
            next(odd)
        for u in range(1, self._count + 1):
            if u in self.solved or u in self._functions:
                continue
            if u in self.kernel:
                values[u] = min(next(odd), self.kernel[u])
            else:
                values[u] = equal or next(sizes)

        waiting: set[int] = set()

        def value(form: Form) -> int:
            total = 0
            for u, coefficient in self.resolve(form).items():
                if u in waiting:
                    raise IllTyped("a window with a stride would have to keep the size")
                if u not in values:
                    waiting.add(u)
                    fn, args = self._functions[u]
                    values[u] = fn([value(a) for a in args])
                    waiting.discard(u)
                total += coefficient * values[u]
            return total

        if any(value(form) for form in self._left):
            raise IllTyped("the sizes don't fit together")
        return value
