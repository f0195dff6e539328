"""The pass as TVM's users meet it: where it can be called, what it returns, what it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal
from tvm.ir.instrument import PassTimingInstrument
from tvm.script import ir as I
from tvm.script import relax as R

import tvm_eqsat
from tvm_eqsat import EqSatOptions
from tvm_eqsat.errors import InstallationError, OptionError, VerificationError
from tvm_eqsat.install import check_installation
from tvm_eqsat.rules import ALL, Rule, RuleSet, op, tensors

TARGET = {"kind": "llvm", "num-cores": 2}


@I.ir_module
class TwoTransposes:
    @R.function
    def main(x: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
        with R.dataflow():
            flipped: R.Tensor((128, 64), "float32") = R.permute_dims(x, axes=[1, 0])
            shares: R.Tensor((128, 64), "float32") = R.nn.softmax(flipped, axis=0)
            back: R.Tensor((64, 128), "float32") = R.permute_dims(shares, axes=[1, 0])
            R.output(back)
        return back


@I.ir_module
class OneSoftmax:
    @R.function
    def main(x: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
        with R.dataflow():
            back: R.Tensor((64, 128), "float32") = R.nn.softmax(x, axis=1)
            R.output(back)
        return back


def _pass(**options: object) -> tvm.transform.Pass:
    return relax.transform.EqSatOptimize(target=TARGET, **options)


def test_transposes_cancel() -> None:
    assert_structural_equal(_pass()(TwoTransposes), OneSoftmax)


def test_the_very_same_module_comes_back_when_nothing_is_better() -> None:
    optimize = _pass()
    assert optimize(OneSoftmax).same_as(OneSoftmax)
    assert optimize.report.changed is False
    assert "unchanged" in optimize.report.summary()


def test_without_arguments_it_uses_the_current_target() -> None:
    target = tvm.target.Target(TARGET)
    optimize = relax.transform.EqSatOptimize()
    with target:
        optimize(TwoTransposes)
    assert optimize.report.target == str(target)


def test_without_any_target_it_uses_this_machine() -> None:
    optimize = relax.transform.EqSatOptimize()
    assert_structural_equal(optimize(TwoTransposes), OneSoftmax)
    assert '"kind":"llvm"' in optimize.report.target


def test_in_a_sequential_under_a_pass_context() -> None:
    sequence = tvm.transform.Sequential([relax.transform.CanonicalizeBindings(), _pass()])
    with tvm.transform.PassContext(opt_level=0):
        assert_structural_equal(sequence(TwoTransposes), OneSoftmax)


def test_stages_show_as_nested_passes() -> None:
    timing = PassTimingInstrument()
    with tvm.transform.PassContext(instruments=[timing]):
        _pass()(TwoTransposes)
        text = timing.render()
    for stage in ("EqSatOptimize", "EqSatImport", "EqSatSaturate", "EqSatExtract", "EqSatEmit"):
        assert stage in text


def test_a_pipeline_for_tvm_compile() -> None:
    target = tvm.target.Target(TARGET)
    compiled = tvm.compile(TwoTransposes, target, relax_pipeline=relax.get_pipeline("eqsat", target=target))
    x = np.random.default_rng(0).standard_normal((64, 128)).astype("float32")
    found = relax.VirtualMachine(compiled, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    weights = np.exp(x.astype("float64"))
    # 128 terms of float32 exponentials: a few units in the last place each
    np.testing.assert_allclose(found, weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)


def test_the_report_has_the_facts() -> None:
    optimize = _pass()
    optimize(TwoTransposes)
    facts = json.loads(optimize.report.to_json())
    region = facts["regions"][0]
    assert facts["changed"] is True
    assert facts["predicted_ms_after"] < facts["predicted_ms_before"]
    assert region["stop_reason"] == "saturated"
    assert region["iterations"][0]["nodes"] >= 4
    assert region["candidates"][0]["origin"] == "original"
    assert "permute-past-softmax" in facts["rules_applied"]
    assert set(facts["stages"]) == {"EqSatImport", "EqSatSaturate", "EqSatExtract", "EqSatEmit"}


def test_the_report_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    optimize = _pass()
    optimize(TwoTransposes)
    optimize.report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["changed"] is True
    with pytest.raises(OSError, match="missing"):
        optimize.report.save(tmp_path / "missing" / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node_limits": 3}, "there is no option 'node_limits'; the options are: numerics,"),
        ({"node_limit": "many"}, "option node_limit='many' is not valid; it takes int"),
        ({"node_limit": 0}, "option node_limit=0 is too small; the least is 1"),
        ({"numerics": "exact"}, "choose from: reassociate, strict"),
        ({"extractor": "best"}, "choose from: .*local"),
        ({"exclude_rules": ["nonsense"]}, "no rule is named 'nonsense'; there are: .*add-zero"),
        ({"verify": 1}, "option verify=1 is not valid; it takes bool"),
    ],
)
def test_wrong_options_are_clear_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(tvm_eqsat.EqSatError, match=message):
        _pass(**options)


def test_wrong_targets_and_presets_are_clear_errors() -> None:
    with pytest.raises(OptionError, match="target 'warp-drive' is not valid"):
        relax.transform.EqSatOptimize(target="warp-drive")
    with pytest.raises(OptionError, match="no preset is named 'slow'; choose from: default, fast, strict, thorough"):
        EqSatOptions.preset("slow")


def test_presets_load_and_can_be_changed() -> None:
    assert EqSatOptions.preset("default") == EqSatOptions()
    assert EqSatOptions.preset("fast", seed=3).seed == 3
    assert EqSatOptions.preset("thorough").node_limit > EqSatOptions().node_limit


def test_strict_numerics_uses_only_exact_rules() -> None:
    @I.ir_module
    class Associative:
        @R.function
        def main(
            x: R.Tensor((512, 4), "float32"), y: R.Tensor((4, 512), "float32"), z: R.Tensor((512, 4), "float32")
        ) -> R.Tensor((512, 4), "float32"):
            with R.dataflow():
                big: R.Tensor((512, 512), "float32") = R.matmul(x, y)
                out: R.Tensor((512, 4), "float32") = R.matmul(big, z)
                R.output(out)
            return out

    assert not _pass()(Associative).same_as(Associative)
    assert _pass(numerics="strict")(Associative).same_as(Associative)


def _wrong_rule() -> Rule:
    x = tensors("x")
    return Rule(name="wrong", law="tanh(x) = x", lhs=op.tanh(x), rhs=x)


@I.ir_module
class Tanh:
    @R.function
    def main(x: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
        with R.dataflow():
            y: R.Tensor((64, 128), "float32") = R.tanh(x)
            z: R.Tensor((64, 128), "float32") = R.exp(y)
            R.output(z)
        return z


def test_verify_catches_a_wrong_rule() -> None:
    rules = RuleSet([_wrong_rule()])
    with pytest.raises(VerificationError):
        _pass(rules=rules, verify=True)(Tanh)
    optimize = _pass(rules=rules, verify=True, on_mismatch="original")
    assert optimize(Tanh).same_as(Tanh)
    assert "original module was kept" in optimize.report.verification
    assert optimize.report.changed is False


def test_verify_passes_a_right_result() -> None:
    optimize = _pass(verify=True)
    assert_structural_equal(optimize(TwoTransposes), OneSoftmax)
    assert optimize.report.verification


def test_rules_can_be_added() -> None:
    x = tensors("x")
    mine = Rule(name="mine", law="exp(tanh(x)) = tanh(x), for this test", lhs=op.exp(op.tanh(x)), rhs=op.tanh(x))
    optimize = _pass(rules=ALL + RuleSet([mine]))
    optimize(Tanh)
    assert optimize.report.rules_applied()["mine"] == 1


def test_a_wrong_ffi_version_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"apache-tvm-ffi": "0.1.15.post2", "apache-tvm": "0.27.0"}
    monkeypatch.setattr("tvm_eqsat.install.metadata.version", versions.__getitem__)
    with pytest.raises(InstallationError, match=r"0\.1\.15\.post2 is installed.*pip install 'apache-tvm-ffi==0\.1\.14"):
        check_installation()
    with pytest.raises(InstallationError):
        _pass()


def _python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_auto_loading_can_be_switched_off_and_import_still_works() -> None:
    code = (
        "import tvm; from tvm import relax\n"
        "print(hasattr(relax.transform, 'EqSatOptimize'))\n"
        "import tvm_eqsat\n"
        "print(hasattr(relax.transform, 'EqSatOptimize'), 'eqsat' in relax.pipeline.PIPELINE_MAP)"
    )
    assert _python(code, TVM_DEVICE_BACKEND_AUTOLOAD="0").split() == ["False", "True", "True"]


def test_import_tvm_alone_is_enough() -> None:
    from importlib.metadata import entry_points

    if not any(e.name == "tvm_eqsat" for e in entry_points(group="tvm.backends")):
        pytest.skip("tvm-eqsat isn't installed as a distribution: `make install` does")
    code = "import tvm; print(tvm.relax.transform.EqSatOptimize().info.name, tvm.relax.get_pipeline('eqsat').info.name)"
    assert _python(code).split() == ["EqSatOptimize", "eqsat_pipeline"]


def test_tvmc_refuses_a_wrong_ffi_version_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tvmc.main import main

    versions = {"apache-tvm-ffi": "0.1.15.post2", "apache-tvm": "0.27.0"}
    monkeypatch.setattr("tvm_eqsat.install.metadata.version", versions.__getitem__)
    assert main(["run", "nothing.so"]) == 4
    assert "pip install 'apache-tvm-ffi==0.1.14.*'" in capsys.readouterr().err
