"""Which of several programs would be the fastest if all were tuned alike, and which trial can change that answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..lower import Kernel
from .estimate import Estimate

#: Relative difference below which two programs are a tie, which the original wins.
TIE = 1e-6


#: By how many standard deviations the leader's kernels may be worse than expected as long as nobody has measured them:
#: whoever leads for being mispriced must be found out, and if it stays in the lead they will be tuned anyway.
_UNPROVEN = 4.0
#: Share of the leader's time that a challenger must be able to win: for less, tuning what leads is the better use.
_WORTH = 0.02
#: What equal kernels share: the structural hash; the name of what isn't TIR.
Key: TypeAlias = int | str


@dataclass
class Race:
    """Programs that compute the same, of which one will be chosen.

    Attributes
    ----------
    programs : list of sequence of Kernel
        The kernels of each; the original comes first.
    copies : int
        How often the chosen one will stand in the module.
    """

    programs: list[Sequence[Kernel]]
    copies: int = 1
    _calls: list[Mapping[Key, tuple[Kernel, int]]] = field(default_factory=list)

    def calls(self, program: int) -> Mapping[Key, tuple[Kernel, int]]:
        """The kernels of a program with their number of calls, by :data:`Key`."""
        for kernels in self.programs[len(self._calls) :]:
            found: dict[Key, tuple[Kernel, int]] = {}
            for kernel in kernels:
                key = kernel.hash or kernel.name
                found[key] = kernel, kernel.count + (found[key][1] if key in found else 0)
            self._calls.append(found)
        return self._calls[program]

    def kernels(self) -> list[Kernel]:
        """The distinct kernels of all programs."""
        found = {key: kernel for i in range(len(self.programs)) for key, (kernel, _) in self.calls(i).items()}
        return list(found.values())

    def seconds(self, program: int, price: Callable[[Kernel], float]) -> float:
        """The latency of one copy of a program."""
        return sum(calls * price(kernel) for kernel, calls in self.calls(program).values())

    def leader(self, price: Callable[[Kernel], float], among: Sequence[int] | None = None) -> int:
        """The fastest program, of some if there are any; the original if none beats it."""
        numbers = list(among or range(len(self.programs)))
        times = {i: self.seconds(i, price) for i in numbers}
        best = min(numbers, key=lambda i: (times[i], i))
        return 0 if 0 in times and times[best] >= times[0] * (1 - TIE) else best

    def stakes(self, leader: int, estimate: Callable[[Kernel], Estimate]) -> dict[Key, tuple[Kernel, float]]:
        """For each kernel, how many seconds its doubt contributes to the doubt about the leader.

        Only what two programs don't have in common matters, and only programs that may still win: those that would be
        noticeably faster than the leader if all kernels that make the difference were a standard deviation off, each in
        the challenger's favour; the leader's own even more, until they are measured. (Errors of predictions agree more
        often than not: layouts are mispriced all alike.) This is how LUCB draws arms: the best, and what may be better
        (Kalyanakrishnan, Tewari, Auer and Stone, "PAC subset selection in stochastic multi-armed bandits", ICML 2012).

        Returns
        -------
        dict
            By :data:`Key`: the kernel, and seconds. Empty when the choice is settled.
        """
        found: dict[Key, tuple[Kernel, float]] = {}
        ours = self.calls(leader)
        least = _WORTH * self.seconds(leader, lambda kernel: estimate(kernel).seconds)
        for challenger in range(len(self.programs)):
            if challenger == leader:
                continue
            theirs = self.calls(challenger)
            behind = doubt = 0.0
            parts: dict[Key, tuple[Kernel, float]] = {}
            for key in {**ours, **theirs}:
                kernel = (ours.get(key) or theirs[key])[0]
                more = theirs[key][1] if key in theirs else 0
                more -= ours[key][1] if key in ours else 0
                if not more:
                    continue
                seconds, deviation, measured = estimate(kernel)
                if more < 0 and not measured:
                    deviation *= _UNPROVEN
                behind += more * seconds
                doubt += abs(more) * deviation
                parts[key] = kernel, self.copies * abs(more) * deviation
            if behind + least < doubt:
                for key, (kernel, stake) in parts.items():
                    if kernel.mod is not None and stake > found.get(key, (kernel, 0.0))[1]:
                        found[key] = kernel, stake
        return found
