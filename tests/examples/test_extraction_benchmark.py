"""The extraction benchmark runs on any file, and knows what was published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.benchmarks.extraction import main


def test_table_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vgg.csv").write_text("## root: a\na,1,f,b,b\na,9,g\nb,2.5,x\n")
    assert main(["--data", str(tmp_path), "--extractors", "tree", "auto", "--json"]) == 0
    out = capsys.readouterr().out
    assert "CPLEX 10 h (published)" in out
    figures = json.loads(out.splitlines()[-1])["vgg"]
    assert figures["nodes"] == 3
    assert {name: row["cost"] for name, row in figures["extractors"].items()} == {"tree": 3.5, "auto": 3.5}
    assert figures["extractors"]["auto"]["lower_bound"] == 3.5
    assert figures["published"]["CPLEX 10 h"] == 4.850757


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.csv")]) == 2
    assert "absent.csv" in capsys.readouterr().err
