"""``Report``: what one run of the pass did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import write_atomically

if TYPE_CHECKING:
    from .cost.lower import Kernel
    from .cost.store import KernelStore
    from .forms import Form, Site


@dataclass
class RegionReport:
    """Facts of one dataflow block, or of one part of it where blocks of the network repeat.

    Attributes
    ----------
    where : str
        The function and block, and the part's number.
    copies : int
        How often it stands in the program; everything else here is about one copy.
    operators, opaque : int
        Table operators in the imported block, and bindings that were kept as they are.
    restarts : int
        How often a new e-graph was started from the best program, since the node limit had ended saturation.
    iterations : list of dict
        Per round of saturation: ``nodes``, ``classes``, ``seconds``, ``applied`` (rule to count).
    stop_reason : str
        Why saturation stopped.
    rules_used : dict of str to int
        Rules whose e-nodes are part of the chosen program, with their number of e-nodes.
    candidates : list of dict
        The programs that were priced: ``origin`` and ``predicted_ms``.
    chosen : str
        ``"original"`` or the chosen candidate's origin.
    """

    where: str
    copies: int = 1
    operators: int = 0
    opaque: int = 0
    restarts: int = 0
    iterations: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str = ""
    rules_used: dict[str, int] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    chosen: str = "original"


@dataclass
class TuningReport:
    """What was tuned while the pass ran.

    Attributes
    ----------
    trials, failed : int
        Trials, and those of them that couldn't be built or run.
    explored : int
        Trials that were spent on the choice among programs.
    rounds : int
        How often programs were extracted with the prices known then.
    settled : bool
        Whether the choice was clear before its share of the trials was used up.
    interrupted : bool
        Whether Ctrl-C ended it.
    seconds : float
        Time spent tuning.
    kernels : list of dict
        The kernels of the result: ``name``, ``weight`` (calls), ``trials`` and ``best_us`` (None if never measured).
    untuned : int
        How many of them have no record.
    forms : list of dict
        What ``layouts="joint"`` measured: ``operator``, ``form``, ``sizes``, and the ``ratio`` of the form's latency to
        that of the fixed layouts.
    """

    trials: int = 0
    failed: int = 0
    explored: int = 0
    rounds: int = 0
    settled: bool = False
    interrupted: bool = False
    seconds: float = 0.0
    kernels: list[dict[str, Any]] = field(default_factory=list)
    untuned: int = 0
    forms: list[dict[str, Any]] = field(default_factory=list)

    def add_forms(self, ratios: Mapping[Site, Mapping[Form, float]]) -> None:
        """Take in the logarithms of what forms of operators take, relative to the fixed layouts."""
        for site, forms in ratios.items():
            for form, ratio in forms.items():
                row = {"operator": str(site), "form": form.kind, "sizes": list(form.sizes), "ratio": exp(ratio)}
                self.forms.append(row)

    def add_kernels(self, kernels: Iterable[Kernel], store: KernelStore) -> None:
        """Take in the kernels of the result, and what a store knows of them."""
        for kernel in kernels:
            best = store.best(kernel.hash) if kernel.mod is not None else None
            self.untuned += kernel.mod is not None and best is None
            self.kernels.append(
                {
                    "name": kernel.name,
                    "weight": kernel.count,
                    "trials": best.trials if best else 0,
                    "best_us": round(best.seconds * 1e6, 6) if best else None,
                }
            )

    def summary(self) -> str:
        """One line for a person."""
        found = f"{self.trials} trials, {self.failed} failed, {self.explored} of them for the choice"
        found += " (settled)" if self.settled else ""
        found += f"; {len(self.kernels)} kernels, {self.untuned} without a record; {self.seconds:.0f} s"
        return found + ("; interrupted" if self.interrupted else "")


@dataclass
class Report:
    """Facts of one run of :class:`~tvm_eqsat.transform.EqSatOptimize`.

    Attributes
    ----------
    target : str
        The target that prices are for.
    options : dict
        The options in force.
    changed : bool
        Whether the module was rewritten; if not, the very same module was returned.
    predicted_ms_before, predicted_ms_after : float
        Predicted run time of the module before and after, in milliseconds.
    price_source : str
        Where the prices come from, e.g. ``"roofline"``.
    stages : dict of str to float
        Seconds spent in each stage.
    regions : list of RegionReport
        One for each dataflow block, or for each distinct part of one.
    skipped : list of str
        Blocks and functions that were left alone, and why.
    verification : str
        What ``verify`` found, or empty.
    tuning : TuningReport or None
        What was tuned, if anything was asked for.
    """

    target: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    changed: bool = False
    predicted_ms_before: float = 0.0
    predicted_ms_after: float = 0.0
    price_source: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    regions: list[RegionReport] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    verification: str = ""
    tuning: TuningReport | None = None

    def rules_applied(self) -> dict[str, int]:
        """How often each rule changed an e-graph, most frequent first."""
        return total_counts(it["applied"] for r in self.regions for it in r.iterations)

    def rules_used(self) -> dict[str, int]:
        """E-nodes of the result that each rule made, most first."""
        return total_counts({k: v * r.copies for k, v in r.rules_used.items()} for r in self.regions)

    def to_dict(self) -> dict[str, Any]:
        """All facts as plain values."""
        return {**asdict(self), "rules_applied": self.rules_applied(), "rules_used": self.rules_used()}

    def to_json(self) -> str:
        """All facts as a JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file, completely or not at all."""
        write_atomically(path, self.to_json() + "\n")

    def summary(self) -> str:
        """A few lines for a person."""
        nodes = sum(r.iterations[-1]["nodes"] for r in self.regions if r.iterations)
        classes = sum(r.iterations[-1]["classes"] for r in self.regions if r.iterations)
        reasons = ", ".join(dict.fromkeys(r.stop_reason for r in self.regions if r.stop_reason)) or "nothing to do"
        used = ", ".join(f"{name} ×{count}" for name, count in self.rules_used().items()) or "none"
        lines = [
            f"e-graph:   {nodes} e-nodes in {classes} e-classes ({reasons})",
            f"predicted: {self.predicted_ms_before:.3f} ms -> {self.predicted_ms_after:.3f} ms ({self.price_source})",
            f"rules in the result: {used}",
            "stages:    " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.stages.items()),
        ]
        if self.tuning is not None:
            lines.append(f"tuned:     {self.tuning.summary()}")
        if not self.changed:
            lines.insert(0, "nothing better was found: the module is unchanged")
        if self.verification:
            lines.append(f"verified:  {self.verification}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def total_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of the same name added up, largest first."""
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
