"""``python -m tvm_eqsat.extract``, and that no result depends on the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extract.egraphs import egraph, layers
from tvm_eqsat.egraph.serialize import save
from tvm_eqsat.extract import extract
from tvm_eqsat.extract.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "layers.json"
    save(layers(6), path)
    return str(path)


def test_text(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shown = dict(lines)
    assert float(shown["cost"]) == pytest.approx(extract(layers(6)).cost, rel=1e-8)
    assert shown["lower_bound"] == shown["cost"]
    assert float(shown["seconds"]) >= 0
    assert shown["extractor"] == "auto"


def test_no_bound(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--extractor", "local"]) == 0
    assert "lower_bound  no bound\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tree", "greedy_dag", "local", "lns", "ilp", "auto"])
def test_json(file: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--extractor", name, "--time-limit", "20", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["cost"] == pytest.approx(extract(layers(6), name).cost)
    assert shown["lower_bound"] == (shown["cost"] if name in ("lns", "ilp", "auto") else None)
    assert shown["extractor"] == name
    assert shown["seconds"] >= 0


def test_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "graph.csv"
    path.write_text("# comment\n## root: a\na,1,f,b,b\na,9,g\nb,2.5,x\n")
    assert main([str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == 3.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/absent.json"], "absent.json"),
        (["{dir}"], "directory"),
        (["{dir}/bad.json"], "bad.json: line 1"),
        (["{dir}/bad.csv"], "bad.csv: line 1"),
        (["{dir}/endless.csv"], "root class 0 (a) has no program of finite cost"),
        (["{dir}/good.csv", "--extractor", "best"], "there is no extractor 'best'"),
        (["{dir}/good.csv", "--time-limit", "0"], "--time-limit: must be more than 0"),
        (["{dir}/good.csv", "--time-limit", "soon"], "--time-limit"),
        (["{dir}/good.csv", "--seed", "x"], "--seed"),
        (["{dir}/good.csv", "--fast"], "unrecognized arguments: --fast"),
        ([], "FILE"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.csv").write_text("a,b\n")
    (tmp_path / "good.csv").write_text("## root: a\na,1,f\n")
    (tmp_path / "endless.csv").write_text("## root: a\na,1,f,a\n")
    try:
        code = main([argument.format(dir=tmp_path) for argument in arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err


PROGRAM = """
from tests.extract.egraphs import layers
from tvm_eqsat.extract import extract, extract_candidates
frozen = layers(12, seed=3)
for name in ("tree", "greedy_dag", "local", "lns", "ilp", "auto"):
    print(list(extract(frozen, name).choice.items()))
print([list(found.choice.items()) for found in extract_candidates(frozen, 4)])
"""


def test_results_do_not_depend_on_the_hash_seed() -> None:
    outputs = []
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(run.stdout)
    assert outputs[0].count("\n") == 7
    assert outputs[0] == outputs[1]


def test_module_is_runnable(tmp_path: Path) -> None:
    save(egraph([[(1, [1])], [(2, [])]], [0]), tmp_path / "small.json")
    run = subprocess.run(
        [sys.executable, "-m", "tvm_eqsat.extract", str(tmp_path / "small.json"), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout.splitlines()[-1])["cost"] == 3.0
