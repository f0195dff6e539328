"""The benchmarks of partial equivalence: figures, results that are taken over, and programs that compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from examples.benchmarks import partial
from examples.benchmarks.end_to_end.comparison import Settings
from examples.benchmarks.mutants import CASES, measure, module_of
from tests.partial.programs import conv
from tvm_eqsat.partial.mutants import Recipe, verified
from tvm_eqsat.verify.field import evaluate

SETTINGS = Settings(5, 1, "trials", (), True, "default", 3, 0, "here", ())


def result(gain: float) -> dict[str, Any]:
    """Figures of one model that mutants make so many times as fast."""
    programs = {key: {"median_ms": 1.0, "difference": 1e-6} for key in partial.SIDES.values()}
    with_them = {key: gain for key in partial.SIDES.values()}
    return {"programs": programs, "speedups": {partial.SIDES[partial.WITH]: with_them}}


def test_models_that_gain_are_named() -> None:
    found = partial.summary({"a": result(4.0), "b": result(1.05), "c": result(1.1)})
    assert found["gain_a_tenth"] == ["a", "c"]
    assert found["geometric_means"][partial.WITHOUT] == pytest.approx((4.0 * 1.05 * 1.1) ** (1 / 3))


def test_what_was_finished_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(self: partial.PartialComparison) -> dict[str, Any]:
        compared.append(self.name)
        return result(2.0)

    monkeypatch.setattr(partial.PartialComparison, "run", compare)
    models = [("infogan", 1), ("infogan", 2)]
    first = partial.run(models[:1], SETTINGS, tmp_path)
    both = partial.run(models, SETTINGS, tmp_path)
    assert compared == ["infogan-batch-1", "infogan-batch-2"]
    assert both["models"]["infogan, batch 1"] == first["models"]["infogan, batch 1"]
    stored = json.loads((tmp_path / "infogan-batch-1.json").read_text(encoding="utf-8"))
    assert stored["settings"] == SETTINGS.to_json()


@pytest.mark.parametrize("argv", [["--models", "nothing"], ["--batch", "0"], ["--batch", "two"], ["--trials", "0"]])
def test_wrong_arguments_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit):
        partial.main(argv)


def test_a_mutants_module_computes_what_the_program_does() -> None:
    program = conv((1, 2, 6, 8), (3, 2, 3, 3), padding=(2, 2, 2, 2), dilation=(2, 2))
    mutant = verified(program, Recipe("product-of-rows"), "rows")
    assert mutant is not None
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 2, 6, 8), "float32"), rng.standard_normal((3, 2, 3, 3), "float32")
    (expected,) = evaluate(program, {0: x, 1: w})
    module = module_of(mutant.graph, {1: w})
    assert len(module["main"].params) == 1
    machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target("llvm")), tvm.cpu())
    (found,) = machine["main"](tvm.runtime.tensor(x))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_more_mutants_are_found_than_are_listed() -> None:
    for name in ("branches (Inception)", "transposed (DCGAN)", "matrix products (BERT)"):
        figures = measure(CASES[name], 4)
        assert figures.found >= max(2, figures.listed)
        assert figures.as_they_are + figures.halo + figures.corrected == figures.found
