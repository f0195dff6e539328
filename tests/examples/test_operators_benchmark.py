"""The benchmark of single operators: its models are what their names say, and names can be shortened."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from examples.benchmarks.operators import OPERATORS, _arguments, build
from examples.models import random_inputs
from examples.programs import onnxruntime

NAMES = ["mobilenet-dw-14", "inception-1x7-17", "resnext-grouped-14", "csrnet-dilated-14", "resnet-fc", "bert-scores"]


@pytest.mark.parametrize("name", NAMES)
def test_models_are_well_formed_and_infer_the_shapes_that_they_declare(name: str) -> None:
    model = build(name)
    onnx.checker.check_model(model, full_check=True)
    (found,) = onnxruntime(model, random_inputs(model), threads=1)()
    declared = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert list(found.shape) == declared
    # of unit variance, so that differences mean the same everywhere
    assert 0.3 < float(np.std(found)) < 12


def test_there_are_enough_of_every_kind() -> None:
    assert len(OPERATORS) >= 24
    for word in ("resnet", "mobilenet", "inception", "bert", "1x1", "3x3", "5x5", "s2", "grouped", "dw", "dilated"):
        assert any(word in name for name in OPERATORS)


def test_names_are_chosen_by_parts() -> None:
    assert _arguments(["--only", "fc,bert-scores"]).only == ["resnet-fc", "bert-scores"]
    with pytest.raises(SystemExit):
        _arguments(["--only", "nothing-like-this"])
