"""The models of PET and EinNet: sizes and shapes as published, values as the papers say, the same result in TVM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import pytest
import tvm
from onnx import ModelProto, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.models import bert_pet, build, csrnet, dcgan, fsrcnn, inception_v3, infogan, random_inputs, resnet
from examples.models.__main__ import main
from tests.models.test_benchmark_models import parameters, run, sane_results

SMALL: dict[str, Callable[..., ModelProto]] = {
    "bert_pet": partial(bert_pet, layers=2, seq=6, hidden=24, heads=3),
    "csrnet": partial(csrnet, 8, width=1 / 32, channels=16),
    "dcgan": partial(dcgan, (8, 6, 3), noise=5),
    "fsrcnn": partial(fsrcnn, 6, wide=8, narrow=4, layers=2),
    "inception_v3": partial(inception_v3, 75, width=0.1, classes=10),
    "infogan": partial(infogan, (8, 6, 3), noise=7),
    "resnet": partial(resnet, blocks=(1, 1), channels=8, image=32, classes=10),
}


@pytest.mark.parametrize(
    ("name", "learned", "given", "made"),
    [
        ("dcgan", 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3), (2, 100, 1, 1), (2, 3, 64, 64)),
        ("infogan", 4 * 228 * 448 + 16 * (448 * 256 + 256 * 128 + 128 * 64 + 64 * 3), (2, 228, 1, 1), (2, 3, 32, 32)),
        ("fsrcnn", 12_464, (2, 1, 32, 32), (2, 1, 128, 128)),  # table 1 of the paper, without activations
    ],
)
def test_generators_are_of_the_published_size(
    name: str, learned: int, given: tuple[int, ...], made: tuple[int, ...]
) -> None:
    model = build(name, batch=2)
    assert parameters(model) == learned
    assert [value.shape for value in random_inputs(model).values()] == [given]
    assert [result.shape for result in sane_results(model)] == [made]


def test_bert_is_of_the_published_size() -> None:
    """Two of the twelve layers."""
    assert parameters(bert_pet(layers=2)) == 2 * (5 * 768 * 768 + 2 * 768)


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_computes_what_its_parts_do(name: str) -> None:
    model = SMALL[name](batch=3)
    onnx.checker.check_model(model, full_check=True)
    ((given, values),) = random_inputs(model).items()
    (together,) = run(model, {given: values})[0]
    apart = [result for (result,) in run(SMALL[name](), *({given: values[i : i + 1]} for i in range(3)))]
    assert np.abs(together - np.concatenate(apart)).max() <= 1e-5 * np.abs(together).max()
    sane_results(model)


@pytest.mark.parametrize("name", ["dcgan", "fsrcnn"])
def test_small_models_agree_in_tvm(name: str) -> None:
    model = SMALL[name](batch=2)
    assert model == SMALL[name](batch=2, seed=0)
    inputs = random_inputs(model)
    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), tvm.target.Target("llvm")), tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, inputs.values())).numpy()
    (expected,) = run(model, inputs)[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_bert_computes_what_pet_says() -> None:
    model = bert_pet(layers=1, seq=5, hidden=12, heads=3)
    inputs = random_inputs(model)
    w = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    x = inputs["embeddings"][0].astype(np.float64)
    q, k, v = ((x @ w[f"layers.0.{part}.weight"]).reshape(5, 3, 4).swapaxes(0, 1) for part in "qkv")
    scores = np.exp(q @ k.swapaxes(1, 2))
    y = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(5, 12)
    for part in ("layers.0.ff1", "layers.0.ff2"):
        y = np.maximum(y @ w[f"{part}.weight"] + w[f"{part}.bias"], 0)
    np.testing.assert_allclose(run(model, inputs)[0][0][0], x + y, rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        bert_pet(hidden=10, heads=3)
    with pytest.raises(ValueError, match="only made for a batch of 1"):
        build("nasrnn", batch=2)
    with pytest.raises(SystemExit):
        main(["nasrnn", "--batch", "2"])
    assert "only made for a batch of 1" in capsys.readouterr().err
