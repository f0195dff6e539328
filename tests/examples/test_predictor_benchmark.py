"""The benchmark of predicted kernels: databases, one for each model, and schedules that are timed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tvm
from tvm.relax import op

from examples.benchmarks import again
from examples.benchmarks.again import times_again
from examples.benchmarks.predictor import Dataset, evaluate
from tests.cost.builders import module
from tests.cost.tuning.invented import tuner
from tests.cost.tuning.test_explore import product
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.predict import Sample
from tvm_eqsat.cost.roofline import seconds
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.errors import FormatError

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 1})


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Two models with a kernel in common, in databases of their own."""
    for model, sizes in ("one", (16, 24)), ("other", (16, 32)):
        with tuner(KernelStore(tmp_path / model, TARGET)) as tuning:
            for size in sizes:
                tuning.measure(product(size, size), 3)
    return [f"{model}={tmp_path / model}" for model in ("one", "other")]


def test_schedules_are_timed_again_once(sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset.load(sources, TARGET)
    folders = [tmp_path / "one", tmp_path / "other"]
    file = tmp_path / "again.json"
    times = times_again(data.in_turn(), folders, TARGET, file)
    assert times is not None and times.keys() == data.samples.keys() and len(times) == 3
    assert all(seconds > 0 and seconds != 1e-3 for seconds in times.values())  # the records say a millisecond
    monkeypatch.setattr(again, "_timed", None)
    assert times_again(data.in_turn(), folders, TARGET, file) == times
    rescaled = data.rescaled(times)
    assert {h: sample.best() for h, sample in rescaled.samples.items()} == pytest.approx(times)
    assert rescaled.models == data.models and all(len(s.trials) >= 3 for s in rescaled.samples.values())


def test_models_have_their_turns(sources: list[str]) -> None:
    data = Dataset.load(sources, TARGET)
    order = [sample.kernel.hash for sample in data.in_turn()]
    assert sorted(order) == sorted(data.samples)
    assert not set(order[:2]) <= data.models["one"] or not set(order[:2]) <= data.models["other"]


def test_kernels_are_predicted_as_they_were_timed() -> None:
    """Alone, not with what it takes in a program to fetch the first operand."""
    machine = machine_for(TARGET)
    shapes = [(64 * i, 128 * j) for i in range(1, 9) for j in range(1, 7)]
    mods = [module(lambda e, x, y: e(op.add(x, y)), shape, shape) for shape in shapes]
    found = [kernel for mod in mods for kernel in kernels(mod, TARGET)]
    samples = {k.hash: Sample(k, (2 * seconds(machine, k.work),)) for k in found}
    hashes = list(samples)
    figures = evaluate(Dataset(samples, {"even": set(hashes[::2]), "odd": set(hashes[1::2])}), TARGET)["all"]
    assert figures["roofline_error"] == pytest.approx(0.5)
    assert figures["predictor_error"] < 0.05


@pytest.mark.parametrize("text", ["{", "[1]", json.dumps({"x": 1.0}), json.dumps({"1": "long"})])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "again.json").write_text(text)
    with pytest.raises(FormatError, match="times of kernels"):
        times_again([], [], TARGET, tmp_path / "again.json")
