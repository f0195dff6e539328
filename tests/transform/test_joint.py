"""One budget for graph and kernels. Latencies are invented, so that they decide as each test wants."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal
from tvm.script import ir as I
from tvm.script import relax as R

from tests.cost.tuning.invented import Shapes, tuner
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.tuning import KernelTuner
from tvm_eqsat.decisions import DECISIONS
from tvm_eqsat.errors import OptionError
from tvm_eqsat.transform import EqSatOptimize

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 1})


@I.ir_module
class Twins:
    """Two products with one operand in common, which merge into one."""

    @R.function
    def main(
        x: R.Tensor((16, 2048), "float32"), v: R.Tensor((2048, 12), "float32"), w: R.Tensor((2048, 12), "float32")
    ) -> R.Tensor((16, 12), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            a: R.Tensor((16, 12), "float32") = R.matmul(x, v)
            b: R.Tensor((16, 12), "float32") = R.matmul(x, w)
            y: R.Tensor((16, 12), "float32") = R.add(R.nn.relu(a), R.tanh(b))
            R.output(y)
        return y


def merged_is(seconds: float) -> Callable[[Shapes], float]:
    """Latencies under which kernels with the merged product take so long, and all others a millisecond."""
    return lambda shapes: seconds if any(24 in shape for shape in shapes) else 1e-3


def run(
    folder: Path, seconds: Callable[[Shapes], float], trials: int, **options: object
) -> tuple[EqSatOptimize, tvm.IRModule]:
    with tuner(KernelStore(folder, TARGET), seconds) as tuning:
        optimize = EqSatOptimize(target=TARGET, trials=trials, tuner=tuning, **options)
        return optimize, optimize(Twins)


def compiled(folder: Path) -> tuple[EqSatOptimize, tvm.IRModule]:
    """As whoever compiles with the records runs the pass."""
    optimize = EqSatOptimize(target=TARGET, database=folder)
    return optimize, optimize(Twins)


def untuned(folder: Path, mod: tvm.IRModule) -> list[str]:
    store = KernelStore(folder, TARGET)
    return [kernel.name for kernel in kernels(mod, TARGET) if store.best(kernel.hash) is None]


def scheduled(folder: Path | None) -> int:
    """How many kernels run as they were tuned when a pipeline compiles with the records."""
    lowered = relax.get_pipeline("eqsat", target=TARGET, database=folder)(Twins)
    functions = [f for f in lowered.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    return sum(bool(f.attrs.get("tirx.is_scheduled", False)) for f in functions)


@pytest.mark.parametrize("seconds", [1e-6, 1e-1])
def test_measurements_decide_and_compiling_decides_alike(tmp_path, seconds) -> None:
    optimize, found = run(tmp_path, merged_is(seconds), 60)
    report = optimize.report
    assert report.changed == (seconds < 1e-3) and report.changed != found.same_as(Twins)
    assert report.tuning.trials == 60 and 0 < report.tuning.explored <= 20
    assert report.tuning.untuned == 0
    assert untuned(tmp_path, found) == []
    again, same = compiled(tmp_path)
    assert_structural_equal(same, found)
    assert again.report.regions[0].chosen == ("decided by tuning" if report.changed else "original")
    assert scheduled(tmp_path) == len(kernels(found, TARGET)) and scheduled(None) == 0


@pytest.mark.parametrize("seconds", [1e-6, 1e-1])
def test_records_alone_decide_as_well(tmp_path, seconds) -> None:
    _, found = run(tmp_path, merged_is(seconds), 60)
    (tmp_path / DECISIONS).unlink()
    optimize, same = compiled(tmp_path)
    assert_structural_equal(same, found)
    assert "measured" in optimize.report.price_source


def test_a_program_with_records_is_preferred_to_one_that_would_run_untuned(tmp_path) -> None:
    """Only the original's kernels have records, slow ones; what is predicted to be better isn't tuned."""
    with tuner(KernelStore(tmp_path, TARGET), lambda _: 1.0) as tuning:
        tuning.tune(kernels(Twins, TARGET), 20)
    optimize, found = compiled(tmp_path)
    assert found.same_as(Twins) and len(optimize.report.regions[0].candidates) > 1


@pytest.mark.parametrize("trials", [1, 2, 9])
def test_small_budgets_go_to_the_kernels_of_the_program_in_the_lead(tmp_path, trials) -> None:
    optimize, found = run(tmp_path, merged_is(1e-6), trials)
    tuning = optimize.report.tuning
    assert tuning.trials == trials == len(KernelStore(tmp_path, TARGET))
    assert tuning.untuned == max(0, len(tuning.kernels) - trials)
    assert len(untuned(tmp_path, found)) == tuning.untuned


def test_another_run_goes_on_from_the_records(tmp_path) -> None:
    run(tmp_path, merged_is(1e-6), 30)
    optimize, found = run(tmp_path, merged_is(1e-6), 30)
    traces = [str(record.trace) for record in KernelStore(tmp_path, TARGET).get_all_tuning_records()]
    kernels_of = [json.loads(line)[0] for line in (tmp_path / "database_tuning_record.json").read_text().splitlines()]
    assert len(set(zip(kernels_of, traces, strict=True))) == len(traces) == 60, "no schedule is measured twice"
    assert optimize.report.tuning.explored < 10 and sum(k["trials"] for k in optimize.report.tuning.kernels) > 30
    assert_structural_equal(compiled(tmp_path)[1], found)


def test_ctrl_c_keeps_what_was_measured(tmp_path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def seconds(shapes: Shapes) -> float:
        os.kill(os.getpid(), signal.SIGINT) if signal.getsignal(signal.SIGINT) is not before and not seen else None
        seen.append(shapes)
        return 1e-3

    seen: list[Shapes] = []
    optimize, _ = run(tmp_path, seconds, 60)
    tuning = optimize.report.tuning
    assert tuning.interrupted and 0 < tuning.trials < 60
    assert tuning.trials == len(seen) == len(KernelStore(tmp_path, TARGET))
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted" in optimize.report.summary()


def test_the_stages_are_passes(tmp_path) -> None:
    timing = tvm.ir.instrument.PassTimingInstrument()
    with tvm.transform.PassContext(instruments=[timing]):
        optimize, _ = run(tmp_path, merged_is(1e-6), 4)
        assert "\tEqSatExplore: " in timing.render() and "\tEqSatTune: " in timing.render()
    assert {"EqSatExplore", "EqSatTune"} <= set(optimize.report.stages)


def test_a_decision_that_is_not_of_this_egraph_is_ignored(tmp_path) -> None:
    run(tmp_path, merged_is(1e-6), 40)
    lines = [json.loads(line) for line in (tmp_path / DECISIONS).read_text().splitlines()]
    for nodes in ([10**9], [0], [-7], list(range(50)), "x"):
        lines[-1]["nodes"] = nodes
        (tmp_path / DECISIONS).write_text(json.dumps(lines[-1]) + "\nhalf a line")
        optimize, _ = compiled(tmp_path)
        assert optimize.report.regions[0].chosen != "decided by tuning"


def test_wrong_arguments(tmp_path) -> None:
    with pytest.raises(OptionError, match="trials=-1"):
        EqSatOptimize(trials=-1, database=tmp_path)
    with pytest.raises(OptionError, match="needs database=DIR"):
        EqSatOptimize(trials=5)
    with pytest.raises(OptionError, match="it takes the path of a directory"):
        EqSatOptimize(database=5)
    with KernelTuner(KernelStore(tmp_path / "store", TARGET)) as tuning:
        with pytest.raises(OptionError, match="has a database of its own"):
            EqSatOptimize(trials=5, tuner=tuning, database=tmp_path)
    with pytest.raises(OptionError, match="holds no MetaSchedule database"):
        EqSatOptimize(target=TARGET, database=tmp_path / "missing")(Twins)
    with pytest.raises(OptionError, match="can't be measured on this machine's CPU"):
        foreign = {"kind": "llvm", "mtriple": "riscv64-linux-gnu"}
        relax.transform.EqSatOptimize(target=foreign, trials=5, database=tmp_path)(Twins)
