"""What measured kernels say about the roofline: how far off it is, kind by kind and size by size.

E-node prices stay what they are, roofline times in the best fusion context, but scaled by how long kernels with this
work really took. So extraction chooses by measurements without a kernel of its own for every e-node.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, log, log2
from typing import NamedTuple

from .machine import Machine
from .roofline import Kind, Work, seconds

_NEAREST = 8  # measured kernels that are asked
#: Weights of a doubling of flops, and of depth, width and bytes. Kernels that agree in all but bytes are nearly always
#: the same operator with another epilogue.
_FLOPS, _OTHERS = 1.0, 0.5
#: Distance at which a kernel counts a quarter of one with equal work.
_NEAR = 0.1
#: Distance of a kernel that counts as much as the mean of its kind.
_FAR = 3.0


class _Measured(NamedTuple):
    """A kernel's place among those of its kind, and what was measured."""

    place: tuple[float, ...]
    work: Work
    seconds: float


class Calibration:
    """Measured latency over roofline time, for work that wasn't measured itself.

    Parameters
    ----------
    pairs : iterable of (Work, float)
        Kernels and the seconds that each took, without the overhead of the call. Those that aren't positive and finite
        are left out.

    Notes
    -----
    The answer is a mean of logarithms: of the nearest kernels of the same kind, weighted by distance, and of the mean
    of that kind, which decides where none is near. The mean of a kind leans on the mean of all kinds, and that on 1, as
    much as on one more kernel: without measurements the factor is 1, and a kind that was never measured is no bargain
    because all others turned out slower than the roofline.
    """

    def __init__(self, pairs: Iterable[tuple[Work, float]]) -> None:
        self._kinds: dict[Kind, list[_Measured]] = {}
        for work, measured in pairs:
            if 0 < measured < inf:
                self._kinds.setdefault(work.kind, []).append(_Measured(_place(work), work, measured))
        self._means: dict[Machine, dict[Kind | None, float]] = {}

    def __len__(self) -> int:
        """The number of kernels."""
        return sum(map(len, self._kinds.values()))

    def factor(self, work: Work, machine: Machine) -> float:
        """How many times its roofline time such a kernel takes.

        Parameters
        ----------
        work : Work
            What the kernel does.
        machine : Machine
            Where the kernels were measured: the roofline is this machine's.
        """
        if not self._kinds:
            return 1.0
        if machine not in self._means:
            self._means[machine] = self._mean_logs(machine)
        means = self._means[machine]
        place = _place(work)
        near = sorted((_distance(place, m.place), i) for i, m in enumerate(self._kinds.get(work.kind, ())))[:_NEAREST]
        weight = _weight(_FAR)
        total, found = weight, weight * means.get(work.kind, means[None])
        for distance, i in near:
            weight = _weight(distance)
            total += weight
            found += weight * _log_ratio(self._kinds[work.kind][i], machine)
        return exp(found / total)

    def _mean_logs(self, machine: Machine) -> dict[Kind | None, float]:
        """The mean logarithm of each kind, and of all under None; a kernel that takes hardly any time tells little."""
        sums: dict[Kind, tuple[float, float]] = {}
        for kind, kernels in self._kinds.items():
            weights = [m.seconds / (m.seconds + machine.overhead) for m in kernels]
            ratios = [_log_ratio(m, machine) for m in kernels]
            sums[kind] = sum(w * r for w, r in zip(weights, ratios, strict=True)), sum(weights)
        overall = sum(s for s, _ in sums.values()) / (1 + sum(w for _, w in sums.values()))
        return {None: overall} | {kind: (s + overall) / (w + 1) for kind, (s, w) in sums.items()}


def _place(work: Work) -> tuple[float, ...]:
    sizes = work.depth, work.width, work.nbytes, 0 if work.rows else 1
    return _FLOPS * log2(1 + work.flops), *(_OTHERS * log2(1 + size) for size in sizes)


def _distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def _weight(distance: float) -> float:
    return (_NEAR / (_NEAR + distance)) ** 2


def _log_ratio(measured: _Measured, machine: Machine) -> float:
    """Bounded by a factor of 30: beyond that, roofline or measurement is nonsense."""
    bound = log(30)
    return max(-bound, min(bound, log(measured.seconds / max(seconds(machine, measured.work), 1e-9))))
