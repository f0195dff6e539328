"""How freely the pass chooses layouts: what the option leaves, and the joint stage with invented latencies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal

from tests.cost.tuning.invented import Shapes, tuner
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.forms.records import FORMS
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.rules import ALL
from tvm_eqsat.rules.layouts import restricted
from tvm_eqsat.transform import EqSatOptimize

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 1})
TRIALS = 40


def pointwise() -> tvm.IRModule:
    """A 1×1 convolution with a ReLU after it."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 16, 14, 14), "float32"))
    weight = np.random.default_rng(0).standard_normal((8, 16, 1, 1)).astype("float32")
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, relax.const(weight)))
            out = builder.emit_output(relax.op.nn.relu(y))
        builder.emit_func_output(out)
    return builder.get()


MODULE = pointwise()


def seconds(shapes: Shapes) -> float:
    """A convolution with filters in blocks of eight takes a microsecond, others a thousand, a conversion ten."""
    weights = [shape for shape in shapes if len(shape) == 6]
    if weights:
        return 1e-6 if all(shape[-1] == 8 for shape in weights) else 1e-3
    return 1e-5 if len(shapes) == 2 else 1e-3


def run(folder: Path, trials: int) -> tuple[EqSatOptimize, tvm.IRModule]:
    with tuner(KernelStore(folder, TARGET), seconds) as tuning:
        optimize = EqSatOptimize(target=TARGET, trials=trials, tuner=tuning, layouts="joint")
        return optimize, optimize(MODULE)


def compiled(folder: Path, **options: object) -> tvm.IRModule:
    """As whoever compiles with the records runs the pass."""
    return EqSatOptimize(target=TARGET, database=folder, layouts="joint", **options)(MODULE)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> tuple[Path, EqSatOptimize, tvm.IRModule]:
    folder = tmp_path_factory.mktemp("tuned")
    return folder, *run(folder, TRIALS)


def test_forms_that_measure_fast_are_chosen(tuned) -> None:
    _, optimize, found = tuned
    assert "conv2d_nchwc" in found.script() and "nn.conv2d" not in found.script()
    tuning = optimize.report.tuning
    assert tuning.trials == TRIALS
    fast = [row for row in tuning.forms if row["ratio"] < 0.5]
    assert fast and all(row["form"] == "blocked" and row["sizes"][1] == 8 for row in fast)


def test_compiling_with_the_records_chooses_alike(tuned) -> None:
    folder, _, found = tuned
    same = compiled(folder)
    assert_structural_equal(same, found)
    x = np.random.default_rng(1).standard_normal((1, 16, 14, 14)).astype("float32")
    results = []
    for module in (MODULE, same):
        machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target("llvm")), tvm.cpu())
        results.append(machine["main"](tvm.runtime.tensor(x)).numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)  # sums of 16 products, in another order


def test_a_choice_of_forms_is_final(tuned, tmp_path) -> None:
    folder = shutil.copytree(tuned[0], tmp_path / "copy")
    lines = (folder / FORMS).read_text()
    optimize, found = run(folder, 1)
    assert optimize.report.tuning.forms == [] and (folder / FORMS).read_text() == lines
    assert_structural_equal(found, tuned[2])


@pytest.mark.parametrize(
    "damage",
    [
        {"chosen": {"nothing": [["blocked", [8, 8]]]}},
        {"chosen": {"nothing": [["no such form", []], ["blocked", "x"], 7], "other": 5}},
        {"chosen": []},
        {"target": "another"},
    ],
)
def test_records_that_are_not_of_this_program_are_ignored(tuned, tmp_path, damage) -> None:
    folder = shutil.copytree(tuned[0], tmp_path / "copy")
    *_, last = (json.loads(line) for line in (folder / FORMS).read_text().splitlines())
    (folder / FORMS).write_text(json.dumps({**last, **damage}) + "\nhalf a line")
    assert "conv2d_nchwc" not in compiled(folder).script()


def test_strict_numerics_use_no_forms(tuned) -> None:
    assert "conv2d_nchwc" not in compiled(tuned[0], numerics="strict").script()


def test_what_the_option_leaves() -> None:
    names = {layouts: {rule.name for rule in restricted(ALL, layouts)} for layouts in ("none", "conversions", "fixed")}
    assert names["none"] < names["conversions"] < names["fixed"] == {rule.name for rule in ALL}
    assert {"conv-nhwc", "max_pool2d-nhwc"} <= names["fixed"] - names["conversions"]
    assert {"permute-permute", "layout-layout", "permute-past-relu"} <= names["conversions"] - names["none"]
    assert {"matmul-share-input", "conv-scale-output"} <= names["none"]


@pytest.mark.parametrize("layouts, conversions", [("none", 2), ("conversions", 0)])
def test_conversions_of_the_program(layouts: str, conversions: int) -> None:
    x = relax.Var("x", relax.TensorType((2, 60, 40, 50), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            there = builder.emit(relax.op.permute_dims(x, [0, 2, 3, 1]))
            back = builder.emit(relax.op.permute_dims(builder.emit(relax.op.nn.softmax(there, 1)), [0, 3, 1, 2]))
            out = builder.emit_output(back)
        builder.emit_func_output(out)
    found = EqSatOptimize(EqSatOptions(layouts=layouts), target=TARGET)(builder.get())
    assert found.script().count("R.permute_dims") == conversions
