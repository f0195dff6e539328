"""Timing several programs side by side, so that noise of the machine hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_SETTLE_SECONDS = 0.02  # worker threads of the one before spin for a moment
_POLISHES = 20


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one program: the median over rounds of each round's median, and how far rounds spread."""

    median_ms: float
    low_ms: float
    high_ms: float
    turns_ms: tuple[float, ...]

    def faster_than(self, other: Timing) -> float:
        """How many times as fast as another program: the median over rounds, in which both had the same noise."""
        return statistics.median(theirs / mine for mine, theirs in zip(self.turns_ms, other.turns_ms, strict=True))


def side_by_side(
    programs: Mapping[str, Callable[[], object]], *, rounds: int = 9, seconds_per_turn: float = 0.25
) -> dict[str, Timing]:
    """Run programs in turns, A B C A B C …, each turn after a warm-up.

    Parameters
    ----------
    programs : mapping of str to callable
        What to run, by name.
    rounds : int
        How many turns each gets.
    seconds_per_turn : float
        A turn repeats the program for about this long, once at least.

    Returns
    -------
    dict of str to Timing
        The times of each.
    """
    turns: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            time.sleep(_SETTLE_SECONDS)
            run()
            samples: list[float] = []
            stop = time.perf_counter() + seconds_per_turn
            while not samples or (time.perf_counter() < stop and len(samples) < 200):
                started = time.perf_counter()
                run()
                samples.append(time.perf_counter() - started)
            turns[name].append(statistics.median(samples) * 1e3)
    return {name: Timing(statistics.median(t), min(t), max(t), tuple(t)) for name, t in turns.items()}


def without_rounds(turns: Sequence[Sequence[float]]) -> list[float]:
    """The time of each program without what the machine did in a round, which slows all of its turns alike.

    Tukey's median polish (Exploratory Data Analysis, 1977, chapter 11) of the logarithms: a time is the program's
    times the round's, and what is left has the median 1 in every program and every round. They are those of a round
    that is as fast as half of them.

    Parameters
    ----------
    turns : sequence of sequence of float
        For each program its times, one of each round.
    """
    left = np.log(np.array(turns, np.float64))
    of_programs, of_rounds = np.zeros(left.shape[0]), np.zeros(left.shape[1])
    for _ in range(_POLISHES):
        for effects, axis in (of_programs, 1), (of_rounds, 0):
            middle = np.median(left, axis=axis, keepdims=True)
            effects += middle.ravel()
            left = left - middle
    return [float(time) for time in np.exp(of_programs + np.median(of_rounds))]
