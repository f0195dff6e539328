"""The end-to-end benchmark: effort is counted over interrupted runs, and configurations compute the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tvm
from onnx import ModelProto
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.benchmarks.end_to_end.__main__ import main
from examples.benchmarks.end_to_end.by_hand import CONFIGURATIONS
from examples.benchmarks.end_to_end.chart import bar_chart
from examples.benchmarks.end_to_end.contender import Contender, Effort
from examples.benchmarks.end_to_end.report import bars, geometric_means
from examples.benchmarks.timing import Timing
from examples.models import MODELS, random_inputs
from examples.models.convnet import ConvNet
from examples.programs import TOLERANCE, difference, onnxruntime, target_for
from tvm_eqsat.cost.store.format import RECORDS
from tvmc import TVMCModel

MODULE = tvm.IRModule({"main": relax.Function([], relax.Tuple([]), ret_ty=tvm.ir.TupleType([]))})


class Tuner:
    """In place of ``tvmc.tune``: writes a record for each trial, up to some number of them."""

    def __init__(self, stop_after: int | None = None, interrupted: bool = False) -> None:
        self.asked: list[int] = []
        self.seeds: list[int] = []
        self.stop_after = stop_after
        self.interrupted = interrupted

    def __call__(self, model: Any, target: Any, folder: Path, *, trials: int, seed: int, **_: Any) -> dict[str, Any]:
        self.asked.append(trials)
        self.seeds.append(seed)
        done = trials if self.stop_after is None else min(trials, self.stop_after)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / RECORDS, "a", encoding="utf-8") as file:
            file.write("[0,[]]\n" * done)
        return {"trials": done, **({"interrupted": True} if self.interrupted else {})}


def contender(folder: Path) -> Contender:
    return Contender(TVMCModel(MODULE), target_for(1), folder / "model" / "tvm", seed=5)


# -- effort ----------------------------------------------------------------------------------------------------------


def test_trials_are_counted_over_all_runs(tmp_path: Path) -> None:
    tune = Tuner()
    assert contender(tmp_path).tune(10, tune).trials == 10
    assert contender(tmp_path).tune(10, tune).trials == 10
    assert contender(tmp_path).tune(25, tune).trials == 25
    assert (tune.asked, tune.seeds) == ([10, 15], [5, 15])


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        contender(tmp_path).tune(10, Tuner(stop_after=4, interrupted=True))
    tune = Tuner()
    assert contender(tmp_path).tune(10, tune).trials == 10
    assert tune.asked == [6]


def test_a_killed_run_is_counted_by_its_records(tmp_path: Path) -> None:
    def killed(*args: Any, **kwargs: Any) -> dict[str, Any]:
        Tuner(stop_after=3)(*args, **kwargs)
        later = json.loads((tmp_path / "model" / "tvm.json").read_text())["started"] + 50
        os.utime(tmp_path / "model" / "tvm" / RECORDS, (later, later))
        raise SystemExit

    with pytest.raises(SystemExit):
        contender(tmp_path).tune(10, killed)
    effort = contender(tmp_path).effort()
    assert (effort.trials, round(effort.seconds)) == (3, 50)


def test_equal_time_is_spent_at_the_rate_so_far(tmp_path: Path) -> None:
    one = contender(tmp_path)
    one.folder.mkdir(parents=True)
    one._write(Effort(100, 20.0), started=None)
    tune = Tuner(stop_after=0)
    assert one.tune_until(20.5, tune).trials == 100
    assert tune.asked == [], "what is left is too little"
    assert one.tune_until(40.0, tune).trials == 100
    assert tune.asked == [100], "and where nothing is left to try, it ends"


def test_what_is_continued_leaves_the_first_trials_alone(tmp_path: Path) -> None:
    one = contender(tmp_path)
    one.tune(10, Tuner())
    more = one.continued()
    assert more.tune(15, Tuner()).trials == 15
    assert (one.effort().trials, one.continued().effort().trials) == (10, 15)
    assert [len((c.folder / RECORDS).read_text().splitlines()) for c in (one, more)] == [10, 15]
    assert one.name == more.name == "tvm"


# -- configurations by hand ------------------------------------------------------------------------------------------


def network(*, seed: int = 0) -> ModelProto:
    """Convolution, normalisation, dropout, depthwise convolution, pooling, and two products of one operand."""
    g = ConvNet(seed)
    x = g.relu(g.batch_norm(g.conv(g.image(8), 6, 3, name="conv1"), name="bn1"), name="relu1")
    kept = g.op("Dropout", x.name, name="dropout")
    x = g.conv(type(x)(kept, x.channels, x.height, x.width), 6, 3, groups=6, name="depthwise")
    flat = g.op("Flatten", g.max_pool(x, 2, stride=2, pad=0, name="pool").name, name="flatten", axis=1)
    left, right = (g.linear(flat, 96, 4, name=name) for name in ("left", "right"))
    g.output("y", g.op("Mul", left, right, name="y"), [1, 4])
    return g.model("network")


@pytest.mark.parametrize("name", ["nchw", "nhwc"])
def test_a_configuration_computes_the_same(name: str) -> None:
    model = network()
    inputs = random_inputs(model)
    mod = CONFIGURATIONS[name].apply(from_onnx(model))
    calls: list[Any] = []
    relax.analysis.post_order_visit(mod["main"], lambda e: calls.append(e) if isinstance(e, relax.Call) else None)
    by_name = {str(call.op.name): call for call in calls if isinstance(call.op, tvm.ir.Op)}
    assert by_name["relax.nn.conv2d"].attrs.data_layout == name.upper()
    assert "relax.nn.batch_norm" not in by_name and "relax.nn.dropout" not in by_name
    assert sum(str(getattr(call.op, "name", "")) == "relax.matmul" for call in calls) == 1
    machine = relax.VirtualMachine(tvm.compile(mod, target_for(1)), tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, inputs.values())).numpy()
    assert difference([found], onnxruntime(model, inputs, 1)()) < TOLERANCE


# -- figures ---------------------------------------------------------------------------------------------------------


def test_speed_ups_are_taken_round_by_round() -> None:
    slow, fast = Timing(4.0, 2.0, 40.0, (2.0, 4.0, 40.0)), Timing(2.0, 1.0, 20.0, (1.0, 2.0, 20.0))
    assert fast.faster_than(slow) == 2.0


def test_differences_that_can_not_be_compared_are_infinite() -> None:
    ones = np.ones((2, 2), "float32")
    assert difference([ones * 1.5], [ones]) == 0.5
    assert difference([ones[:1]], [ones]) == difference([ones * np.nan], [ones]) == float("inf")


def models() -> dict[str, Any]:
    def speedups(over_tvm: float) -> dict[str, Any]:
        ours, tvm_ = "EqSatOptimize, equal trials", "TVM, equal trials"
        return {
            ours: {tvm_: over_tvm, "onnxruntime": 0.5},
            tvm_: {tvm_: 1.0, ours: 1 / over_tvm},
            "onnxruntime": {tvm_: 3.0},
        }

    return {"a": {"speedups": speedups(2.0)}, "b": {"speedups": speedups(0.5)}}


def test_geometric_means_name_the_worst_model() -> None:
    found = geometric_means(models(), "trials")
    assert found["TVM"] == {"speedup": pytest.approx(1.0), "models": 2, "worst": 0.5, "worst_model": "b"}
    assert found["onnxruntime"]["speedup"] == pytest.approx(0.5)
    assert set(found) == {"TVM", "onnxruntime"}


def test_bars_are_as_high_as_their_values() -> None:
    groups = {"a <b>": {"one": 1.0, "two": 2.0}, "c": {"two": 0.5}}
    picture = ElementTree.fromstring(bar_chart("A & B", groups))
    space = "{http://www.w3.org/2000/svg}"
    heights = {
        rect.find(f"{space}title").text: float(rect.attrib["height"])
        for rect in picture.iter(f"{space}rect")
        if rect.find(f"{space}title") is not None
    }
    assert set(heights) == {"a <b>, one: 1.00", "a <b>, two: 2.00", "c, two: 0.50"}
    assert heights["a <b>, two: 2.00"] == pytest.approx(2 * heights["a <b>, one: 1.00"], abs=0.2)
    assert "A & B" in {text.text for text in picture.iter(f"{space}text")}
    assert {label: bar for label, bar in bars(models(), "trials")["a"].items()} == {
        "TVM": pytest.approx(1.0),
        "EqSatOptimize": 2.0,
        "onnxruntime": 3.0,
    }


# -- all of it -------------------------------------------------------------------------------------------------------


def tiny(*, seed: int = 0) -> ModelProto:
    g = ConvNet(seed)
    x = g.op("Relu", g.linear(g.input("x", [4, 16]), 16, 32, name="first"), name="relu")
    g.output("y", g.linear(x, 32, 8, name="second"), [4, 8])
    return g.model("tiny")


def test_a_small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny)
    monkeypatch.setenv("TVM_NUM_THREADS", os.environ.get("TVM_NUM_THREADS", "1"))
    flags = ["--models", "tiny", "--trials", "2", "--threads", "1", "--rounds", "2", "--equal", "trials"]
    flags += ["--by-hand", "nhwc,nchw", "--work-dir", str(tmp_path / "work")]
    flags += ["--json", str(tmp_path / "out.json"), "--chart", str(tmp_path / "out.svg")]
    assert main(flags) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    programs = result["models"]["tiny"]["programs"]
    assert programs["TVM, equal trials"]["trials"] == programs["EqSatOptimize, equal trials"]["trials"] == 2
    assert programs["TVM by hand, equal trials"]["configuration"] == "as imported"
    assert all(row["difference"] <= TOLERANCE and row["median_ms"] > 0 for row in programs.values())
    assert result["summary"]["trials"]["TVM"]["models"] == 1
    ElementTree.parse(tmp_path / "out.svg")

    def gone(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("a finished model is compared again")

    monkeypatch.setattr("examples.benchmarks.end_to_end.__main__.Comparison", gone)
    capsys.readouterr()
    assert main(flags) == 0
    out, err = capsys.readouterr()
    assert "finished before" in err and "tiny" in out and "geometric mean of 1" in out
    with pytest.raises(AssertionError, match="compared again"):
        main([*flags, "--seed", "1"])


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--models", "squeezenet,unknown"])
    assert "there is no 'unknown'" in capsys.readouterr().err
