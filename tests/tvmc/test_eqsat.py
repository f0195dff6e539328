"""``--enable-eqsat`` on compile and tune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_eqsat.options import EqSatOptions

from .conftest import TARGET


def test_compile(detour: Path, tvmc: Any) -> None:
    done = tvmc(
        "compile", detour, "--target", TARGET, "-o", "e.so", "--enable-eqsat", "--eqsat-report", "report.json", "--json"
    )
    assert done.code == 0
    report = json.loads(Path("report.json").read_text())
    assert report["changed"] and report["predicted_ms_after"] < report["predicted_ms_before"]
    assert report["rules_applied"]
    facts = done.json["eqsat"]
    assert "predicted" in facts["summary"] and facts["summary"] in done.out
    assert facts["options"] == json.loads(json.dumps(report["options"]))

    plain = tvmc("compile", detour, "--target", TARGET, "-o", "p.so", "--json")
    assert done.json["kernels"] < plain.json["kernels"]
    for name in "ep":
        assert tvmc("run", f"{name}.so", "-o", f"{name}.npz").code == 0
    found, expected = np.load("e.npz")["output_0"], np.load("p.npz")["output_0"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_options_and_presets(mlp: Path, tvmc: Any) -> None:
    flags = ["--eqsat-preset", "fast", "--eqsat-node-limit", "77", "--no-eqsat-verify", "--eqsat-exclude-rules", ""]
    done = tvmc("compile", mlp, "--target", TARGET, "--enable-eqsat", *flags, "--json")
    assert done.code == 0
    options = done.json["eqsat"]["options"]
    expected = EqSatOptions.preset("fast", node_limit=77, verify=False, exclude_rules=())
    assert options == {name: list(v) if isinstance(v, tuple) else v for name, v in vars(expected).items()}


def test_stages_are_part_of_the_pass_times(mlp: Path, tvmc: Any) -> None:
    done = tvmc("compile", mlp, "--target", TARGET, "--enable-eqsat", "--print-pass-times")
    assert done.code == 0
    assert "EqSatOptimize: " in done.out and "\tEqSatSaturate: " in done.out


def test_wrong_values(mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    done = tvmc("compile", mlp, "--target", TARGET, "--enable-eqsat", "--eqsat-extractor", "magic")
    assert done.code == 4 and "extractor='magic' is not valid; choose from: " in done.err
    done = tvmc("compile", mlp, "--target", TARGET, "--enable-eqsat", "--eqsat-report", "missing/r.json")
    assert done.code == 4 and "can't write 'missing/r.json'" in done.err
    with pytest.raises(SystemExit):
        tvmc("compile", mlp, "--target", TARGET, "--enable-eqsat", "--eqsat-numerics", "sloppy")
    assert list(tmp_path.iterdir()) == []


def test_kernels_tuned_with_eqsat_are_found_again(detour: Path, tvmc: Any) -> None:
    fast = ["--min-repeat-ms", "1", "--number", "1", "--parallel", "1", "--trials", "2"]
    done = tvmc("tune", detour, "--target", TARGET, "-o", "records", "--enable-eqsat", *fast, "--json")
    assert done.code == 0
    kernels = {task["name"] for task in done.json["tasks"]}
    plain = tvmc("tune", detour, "--target", TARGET, "-o", "x", "--tasks", "list", "--json").json["tasks"]
    assert kernels != {task["name"] for task in plain}
    done = tvmc("compile", detour, "--target", TARGET, "--enable-eqsat", "--tuning-records", "records", "--json")
    assert done.code == 0
    assert done.json["tuned_kernels"] == len(kernels) > 0


def test_tuning_and_compiling_choose_the_same_program(twins: Path, tvmc: Any) -> None:
    """One budget for graph and kernels; a second run goes on from the first one's records."""
    flags = ["--target", TARGET, "--input-shapes", "x:[16,64]", "--enable-eqsat", "--eqsat-report", "report.json"]
    for run in (1, 2):
        done = tvmc("tune", twins, *flags, "-o", "records", "--trials", "6", "--parallel", "1", "--json")
        assert (done.code, done.json["trials"], done.json["records"]) == (0, 6, 6 * run)
    report = json.loads(Path("report.json").read_text())
    assert report["tuning"]["trials"] == 6 and report["tuning"]["untuned"] == 0
    tasks = done.json["tasks"]
    assert tasks == report["tuning"]["kernels"] and all(task["best_us"] > 0 for task in tasks)
    compiled = tvmc("compile", twins, *flags, "--tuning-records", "records", "--json")
    assert (compiled.code, compiled.json["tuned_kernels"], compiled.json["kernels"]) == (0, len(tasks), len(tasks))
    again = json.loads(Path("report.json").read_text())
    assert again["changed"] == report["changed"] and again["tuning"] is None
    assert again["predicted_ms_after"] == pytest.approx(report["predicted_ms_after"])
