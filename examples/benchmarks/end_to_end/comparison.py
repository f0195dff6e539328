"""One model in all programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from tvm.relax.frontend.onnx import from_onnx

import tvmc
from examples.benchmarks.timing import Timing, side_by_side
from examples.models import random_inputs
from examples.programs import (
    Program,
    Unavailable,
    difference,
    from_library,
    onnxruntime,
    openvino,
    pytorch,
    target_for,
)
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.options import EqSatOptions

from .by_hand import CONFIGURATIONS, ByHand, has_convolutions
from .contender import Contender, Effort

TVM, BY_HAND, OURS, ORT = "TVM", "TVM by hand", "EqSatOptimize", "onnxruntime"
OTHERS: dict[str, Callable[..., Program]] = {"OpenVINO": openvino, "PyTorch": pytorch}
EQUAL = {"trials": ("trials",), "time": ("time",), "both": ("trials", "time")}


@dataclass(frozen=True)
class Settings:
    """What a result depends on besides the model.

    Attributes
    ----------
    trials, threads : int
        Of everybody.
    equal : str
        What everybody has the same of: a key of :data:`EQUAL`.
    by_hand : tuple of str
        Configurations of TVM's own passes to try.
    prepack : bool
        Whether kernels of EqSatOptimize's program choose the layout of their weights.
    preset : str
        Options of EqSatOptimize.
    rounds : int
        Turns of each program when measuring.
    seed : int
        Of weights, inputs and tuning.
    host : str
        The machine.
    others : tuple of str
        Runtimes besides onnxruntime.
    """

    trials: int
    threads: int
    equal: str
    by_hand: tuple[str, ...]
    prepack: bool
    preset: str
    rounds: int
    seed: int
    host: str
    others: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON reads it back."""
        return dict(json.loads(json.dumps(asdict(self))))


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def tuned(label: str, equal: str) -> str:
    """The name of a tuned program in results, e.g. ``"EqSatOptimize, equal trials"``."""
    return f"{label}, equal {equal}"


class Comparison:
    """All programs for one model.

    Parameters
    ----------
    name : str
        What the model is called.
    model : onnx.ModelProto
        The model.
    settings : Settings
        How to compare.
    work : pathlib.Path
        Where records are kept, and found again.
    scratch : pathlib.Path
        Where libraries may be put for a moment.
    """

    def __init__(self, name: str, model: onnx.ModelProto, settings: Settings, work: Path, scratch: Path) -> None:
        self.name = name
        self.model = model
        self.settings = settings
        self.folder = work / f"{name}-{settings.threads}-threads-seed-{settings.seed}"
        self.scratch = scratch
        self.inputs: dict[str, np.ndarray] = random_inputs(model, seed=settings.seed)
        self.programs: dict[str, Program] = {}
        self.rows: dict[str, dict[str, Any]] = {}  # "program" names the one that is measured for a row
        self.by_hand = ""  # the chosen configuration
        self.rivals: dict[str, dict[str, float]] = {}  # it and all others, measured before the choice
        self.failures: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        """Tune, compile, measure; returns the figures.

        Raises
        ------
        KeyboardInterrupt
            It was interrupted; another run goes on with what was measured.
        """
        mod = from_onnx(self.model)
        options = EqSatOptions.preset(self.settings.preset, seed=self.settings.seed)
        ours = self._contender(f"eqsat-{self.settings.preset}", mod, self.settings.prepack, options)
        sides = {TVM: self._contender("tvm", mod), OURS: ours}
        by_hand = self._by_hand(mod)
        for label, contender in {**sides, **by_hand}.items():
            self._say(f"{label}: {self.settings.trials} trials")
            contender.tune(self.settings.trials)
        if self.settings.by_hand:
            known = {"as imported": sides[TVM], **by_hand}
            self.by_hand = self._fastest(known)
            sides[BY_HAND] = known[self.by_hand]
        for equal in EQUAL[self.settings.equal]:
            if equal == "time":
                sides = self._spend_equal_time(sides)
            self._compile(sides, equal)
        unavailable = self._add_others()
        by_hand_facts = {"measured": self.rivals, "failures": self.failures}
        return {**self._measured(), "by_hand": by_hand_facts, "unavailable": unavailable}

    def _say(self, text: str) -> None:
        say(f"{self.name}: {text}")

    def _contender(
        self, folder: str, mod: tvm.IRModule, prepack: bool = False, eqsat: EqSatOptions | None = None
    ) -> Contender:
        model = tvmc.TVMCModel(mod, input_names=tuple(self.inputs), name=self.name)
        folder += "+prepack" if prepack else ""
        target = target_for(self.settings.threads)
        return Contender(model, target, self.folder / folder, prepack, eqsat, self.settings.seed)

    def _by_hand(self, mod: tvm.IRModule) -> dict[str, Contender]:
        """Contenders for the configurations whose kernels aren't those of the imported module."""
        found: dict[str, Contender] = {}
        rewritten: dict[str, tvm.IRModule | None] = {}
        images, imported = has_convolutions(mod), self._kernels(mod)
        for configuration in (CONFIGURATIONS[name] for name in self.settings.by_hand):
            layout = configuration.layout
            if configuration.nhwc and not images:
                continue
            if layout not in rewritten:
                rewritten[layout] = self._rewritten(configuration, mod)
            candidate = rewritten[layout]
            if candidate is not None and (configuration.prepack or self._kernels(candidate) != imported):
                found[configuration.name] = self._contender(layout, candidate, configuration.prepack)
        return found

    def _kernels(self, mod: tvm.IRModule) -> list[tuple[int, int]]:
        return sorted((kernel.hash, kernel.count) for kernel in kernels(mod, target_for(self.settings.threads)))

    def _rewritten(self, configuration: ByHand, mod: tvm.IRModule) -> tvm.IRModule | None:
        """What TVM's own passes make of it; None where one of them fails."""
        try:
            return configuration.apply(mod)
        except Exception as err:  # ConvertLayout fails on 5-dimensional tensors, for one
            self.failures[configuration.layout] = (str(err).strip() or type(err).__name__).splitlines()[-1]
            self._say(f"{BY_HAND}, {configuration.layout}: TVM fails: {self.failures[configuration.layout]}")
            return None

    def _fastest(self, contenders: dict[str, Contender]) -> str:
        if len(contenders) == 1:
            return next(iter(contenders))
        programs = {name: self._program(contender)[0] for name, contender in contenders.items()}
        times = side_by_side(programs, rounds=self.settings.rounds)
        for name, timing in times.items():
            self._say(f"{BY_HAND}, {name}: {timing.median_ms:.3f} ms")
        self.rivals = {name: _figures(timing) for name, timing in times.items()}
        return min(times, key=lambda name: times[name].median_ms)

    def _spend_equal_time(self, sides: dict[str, Contender]) -> dict[str, Contender]:
        """The same, tuned on until each has spent as many seconds as the one who has spent most."""
        seconds = max(contender.effort().seconds for contender in sides.values())
        continued = {label: contender.continued() for label, contender in sides.items()}
        for label, contender in continued.items():
            after = contender.tune_until(seconds)
            self._say(f"{label}: {_told(sides[label].effort())}, then {_told(after)}")
        return continued

    def _compile(self, sides: dict[str, Contender], equal: str) -> None:
        """Add a row for each, and its program if no other row has the same one."""
        for label, contender in sides.items():
            effort, key = contender.effort(), tuned(label, equal)
            place = {"records": contender.name, **asdict(effort)}
            same = [row for row in self.rows.values() if place.items() <= row.items()]
            if same:
                self.rows[key] = dict(same[0])
            else:
                self._say(f"{label}: compiling")
                self.programs[key], metadata = self._program(contender)
                tuned_part = {name: metadata[name] for name in ("kernels", "tuned_kernels")}
                self.rows[key] = {"program": key, **place, **tuned_part}
            if label == BY_HAND:
                self.rows[key]["configuration"] = self.by_hand

    def _program(self, contender: Contender) -> tuple[Program, dict[str, Any]]:
        library = self.scratch / f"{contender.folder.name}.so"
        metadata = contender.compile(library)
        program = from_library(library, self.inputs)
        library.unlink()  # it is loaded
        return program, metadata

    def _add_others(self) -> dict[str, str]:
        """Add programs of other runtimes; returns why some can't be had."""
        reasons: dict[str, str] = {}
        for label, make in {ORT: onnxruntime, **{label: OTHERS[label] for label in self.settings.others}}.items():
            try:
                self.programs[label] = make(self.model, self.inputs, self.settings.threads)
                self.rows[label] = {"program": label}
            except Unavailable as err:
                reasons[label] = str(err)
        return reasons

    def _measured(self) -> dict[str, Any]:
        self._say(f"measuring {len(self.programs)} programs in turns")
        expected = self.programs[ORT]()
        differences = {key: difference(run(), expected) for key, run in self.programs.items()}
        times = side_by_side(self.programs, rounds=self.settings.rounds)
        timing = {key: times[row["program"]] for key, row in self.rows.items()}
        for key, row in self.rows.items():
            row |= {**_figures(timing[key]), "difference": differences[row["program"]]}
        speedups = {a: {b: timing[a].faster_than(timing[b]) for b in timing} for a in timing}
        return {"programs": self.rows, "speedups": speedups}


def _told(effort: Effort) -> str:
    return f"{effort.trials} trials in {effort.seconds:.0f} s"


def _figures(timing: Timing) -> dict[str, float]:
    return {"median_ms": timing.median_ms, "low_ms": timing.low_ms, "high_ms": timing.high_ms}
