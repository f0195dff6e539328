"""The joint stage: forms are proposed, a few schedules of each are measured, and the good ones are kept.

As in ALT (Xu et al., EuroSys'23, §5.2), layouts come first, each judged by a short search for its loops, and are frozen
before all that is left of the budget goes to loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log

from ..cost.lower import Kernel
from ..cost.roofline import Work
from ..cost.tuning import Batch, KernelTuner, is_tunable
from ..graph.tensor_graph import TensorGraph
from ..rules import ALL
from .alone import alone
from .form import Form
from .proposals import proposals
from .proposer import Option, Proposer
from .records import FormRecords
from .site import Site

#: The most that the stage may cost, as a share of all trials. (ALT: 0.3 for single operators, 0.4 for networks.)
SHARE = 0.3
_WORTH = 0.005  # of the program's time, what a form must promise to be tried


@dataclass
class Found:
    """What the stage found.

    Attributes
    ----------
    trials : int
        What it used.
    ratios : dict
        For each operator and form that was measured, the logarithm of its latency relative to the fixed layouts'.
    works : list of (Work, float)
        The kernels that were measured, with the seconds that each is expected to take.
    """

    trials: int = 0
    ratios: dict[Site, dict[Form, float]] = field(default_factory=dict)
    works: list[tuple[Work, float]] = field(default_factory=list)


class FormSearch:
    """Searches the forms of one program's operators.

    Parameters
    ----------
    lanes : int
        Elements of a vector register.
    lower : callable
        The kernels of a program.
    roofline : callable
        Seconds that a program would take.
    price : callable
        Seconds that a kernel is expected to take, once it was measured.
    tuner : KernelTuner
        Measures.
    records : FormRecords
        What is known; receives what is measured.
    """

    def __init__(
        self,
        lanes: int,
        lower: Callable[[TensorGraph], list[Kernel]],
        roofline: Callable[[TensorGraph], float],
        price: Callable[[Kernel], float],
        tuner: KernelTuner,
        records: FormRecords,
    ) -> None:
        self._lanes = lanes
        self._lower = lower
        self._roofline = roofline
        self._price = price
        self._tuner = tuner
        self._records = records
        self._found = Found()

    def run(
        self,
        sites: Mapping[Site, int],
        trials: int,
        *,
        on_batch: Callable[[Batch], None],
        stopping: Callable[[], bool],
    ) -> Found:
        """Spend trials on the forms that promise most.

        Parameters
        ----------
        sites : mapping of Site to int
            The program's operators, and how often each stands there.
        trials : int
            The budget of this stage.
        on_batch, stopping : callable
            As for :meth:`KernelTuner.tune <tvm_eqsat.cost.tuning.KernelTuner.tune>`.
        """
        self._found = Found()
        fixed = {site: _fixed(site, self._roofline) for site in sites}
        usual = {site: self._roofline(graph) for site, graph in fixed.items()}
        total = sum(count * usual[site] for site, count in sites.items())
        graphs: dict[Option, TensorGraph] = {}
        for site, count in sites.items():
            if count * usual[site] >= _WORTH * total:
                for form in proposals(site, self._lanes):
                    graph = alone(site, form.rule())
                    if graph is not None:
                        graphs[Option(site, form)] = graph
        priors = {option: log(self._roofline(graph) / usual[option.site]) for option, graph in graphs.items()}
        proposer = Proposer(priors, {site: n * usual[site] for site, n in sites.items()}, self._records.measured)
        times: dict[Site, float | None] = {}
        while not stopping() and (option := proposer.next(_WORTH * total)) is not None:
            site, form = option
            wanted = [graphs[option]] if site in times else [fixed[site], graphs[option]]
            if self._found.trials + self._cost(wanted) > trials:
                proposer.drop(option)
                continue
            if site not in times:
                times[site] = self._measured(fixed[site], on_batch)
            before, seconds = times[site], self._measured(graphs[option], on_batch)
            if seconds is None or before is None:
                proposer.drop(option)
                continue
            ratio = self._found.ratios.setdefault(site, {})[form] = log(seconds / before)
            self._records.add(proposer.learn(option, ratio))
        return self._found

    def _cost(self, graphs: list[TensorGraph]) -> int:
        """Trials that it takes to measure what wasn't yet."""
        kernels = (kernel for graph in graphs for kernel in self._lower(graph))
        return sum(self._tuner.first_batch(kernel) for kernel in kernels if self._is_open(kernel))

    def _is_open(self, kernel: Kernel) -> bool:
        return is_tunable(kernel) and self._tuner.store.best(kernel.hash) is None

    def _measured(self, graph: TensorGraph, on_batch: Callable[[Batch], None]) -> float | None:
        """Seconds of a program of a few kernels; None if one of them doesn't run."""
        total = 0.0
        for kernel in self._lower(graph):
            if self._is_open(kernel):
                batch = self._tuner.measure(kernel, self._tuner.first_batch(kernel))
                self._found.trials += batch.trials
                on_batch(batch)
                if self._is_open(kernel):
                    return None
            seconds = self._price(kernel)
            self._found.works.append((kernel.work, seconds))
            total += kernel.count * seconds
        return total


def _fixed(site: Site, roofline: Callable[[TensorGraph], float]) -> TensorGraph:
    """An operator as it is, or with channels last: whichever is faster by the roofline."""
    last = alone(site, *ALL.only("conv-nhwc")) if site.op == "conv2d" else None
    return min([site.graph(), *([last] if last else [])], key=roofline)
