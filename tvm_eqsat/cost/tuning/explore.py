"""Trials for a decision: which of several programs deserves to be tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..lower import Kernel
from .estimate import Estimate, Estimates
from .race import Key, Race
from .tuner import KernelTuner, OnBatch, is_tunable, never

#: The most that the decision may cost, as a share of all trials: the rest tunes what was decided.
SHARE = 1 / 3
#: Extraction runs again after so many parts of that share, as measured prices become known; but it may take as long as
#: a few trials.
_ROUNDS = 4
_LEAST = 16  # trials between two extractions


@dataclass
class Explored:
    """What exploration did.

    Attributes
    ----------
    trials : int
        What it used.
    rounds : int
        How often programs were extracted with the prices known then.
    settled : bool
        Whether no other program could be faster any more, as far as is known.
    """

    trials: int = 0
    rounds: int = 0
    settled: bool = False


def explore(
    races: Sequence[Race],
    tuner: KernelTuner,
    estimate: Estimates,
    trials: int,
    *,
    renew: Callable[[], bool],
    on_batch: OnBatch = lambda batch: None,
    stopping: Callable[[], bool] = never,
) -> Explored:
    """Spend trials on kernels whose latency can change the choice, until it is settled or :data:`SHARE` is used up.

    Enough is kept back to give a first batch to every kernel of the programs in the lead, so a small budget explores
    little or nothing.

    Parameters
    ----------
    races : sequence of Race
        The choices; programs may be added on the way.
    tuner : KernelTuner
        Measures.
    estimate : Estimates
        What a kernel will take once it is tuned; learns from what is measured.
    trials : int
        The whole budget.
    renew : callable
        Takes in what was measured, and adds programs that look good by it; says whether there are any.
    on_batch, stopping : callable
        As for :meth:`KernelTuner.tune <.tuner.KernelTuner.tune>`.
    """
    done = Explored()
    limit = int(trials * SHARE)
    step = max(tuner.batch, _LEAST, limit // _ROUNDS)
    renewed = -1  # trials at the last renewal
    estimate.learn(kernel for race in races for program in race.programs for kernel in program)
    while not stopping():
        if renewed < 0 or done.trials - renewed >= step:
            renew()
            done.rounds, renewed = done.rounds + 1, done.trials
        ahead = leading(races, tuner, estimate, trials - done.trials)
        stakes = _stakes(races, ahead, tuner, estimate)
        if not stakes:
            if done.trials > renewed:
                done.rounds, renewed = done.rounds + 1, done.trials
                if renew():
                    continue
            done.settled = True
            break
        left = limit - done.trials
        mine = {key for race, program in zip(races, ahead, strict=True) for key in race.calls(program)}
        spare = trials - done.trials - cost_of_first_batches(races, ahead, tuner)
        affordable = [key for key, (k, _) in stakes.items() if key in mine or min(tuner.next_batch(k), left) <= spare]
        if left <= 0 or not affordable:
            break
        kernel = stakes[max(affordable, key=lambda key: stakes[key][1])][0]
        batch = tuner.measure(kernel, min(tuner.next_batch(kernel), left))
        done.trials += batch.trials
        estimate.learn([batch.kernel])
        on_batch(batch)
    return done


def leading(
    races: Sequence[Race], tuner: KernelTuner, estimate: Callable[[Kernel], Estimate], trials: int
) -> list[int]:
    """For each race the program that is expected to be the fastest, of those that the trials left suffice to tune."""

    def seconds(kernel: Kernel) -> float:
        return estimate(kernel).seconds

    found = []
    for race in races:
        numbers = range(len(race.programs))
        affordable = [i for i in numbers if cost_of_first_batches([race], [i], tuner) <= trials]
        found.append(race.leader(seconds, affordable))
    return found


def cost_of_first_batches(races: Sequence[Race], programs: Sequence[int], tuner: KernelTuner) -> int:
    """Trials that kernels of some programs, one of each race, need which were never measured and can be."""
    kernels = {k.hash: k for race, i in zip(races, programs, strict=True) for k, _ in race.calls(i).values()}
    untuned = [k for k in kernels.values() if is_tunable(k) and tuner.store.best(k.hash) is None]
    return sum(tuner.first_batch(k) for k in untuned if not tuner.exhausted(k))


def _stakes(
    races: Sequence[Race], ahead: Sequence[int], tuner: KernelTuner, estimate: Callable[[Kernel], Estimate]
) -> dict[Key, tuple[Kernel, float]]:
    """What each kernel contributes to the doubt, in all races together."""
    found: dict[Key, tuple[Kernel, float]] = {}
    for race, leader in zip(races, ahead, strict=True):
        for key, (kernel, stake) in race.stakes(leader, estimate).items():
            if stake > 0 and not tuner.exhausted(kernel):
                found[key] = kernel, stake + (found[key][1] if key in found else 0.0)
    return found
