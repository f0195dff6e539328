"""The models of the literature: parameter counts and shapes as published, sane values, the same result in TVM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from examples.models import (
    BENCHMARK,
    MODELS,
    bert_tensat,
    build,
    csrnet,
    gpt2,
    inception_v3,
    mobilenet_v2,
    nasneta,
    nasrnn,
    random_inputs,
    resnet,
    resnet18,
    resnext50,
)

# torchvision's documentation states these. Of Inception-v3's 27,161,264, the auxiliary classifier has 3,326,696.
PUBLISHED = {
    "inception_v3": 27_161_264 - 3_326_696,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnext50": 25_028_904,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
}
CONVOLUTIONS = {"inception_v3": 94, "mobilenet_v2": 52, "resnet18": 20, "resnext50": 53}
POOLED = {
    "inception_v3": (1, 2048, 8, 8),
    "mobilenet_v2": (1, 1280, 7, 7),
    "resnet18": (1, 512, 7, 7),
    "resnext50": (1, 2048, 7, 7),
}

SMALL: dict[str, Callable[..., ModelProto]] = {
    "bert_tensat": partial(bert_tensat, layers=1, seq=8, hidden=32, heads=4),
    "csrnet": partial(csrnet, 8, width=1 / 32, channels=16),
    "gpt2": partial(gpt2, layers=1, hidden=32, heads=4, seq=8, vocab=50),
    "mobilenet_v2": partial(mobilenet_v2, ((6, 32, 1, 1),), width=0.5, image=32, classes=10),
    "nasneta": partial(nasneta, stages=1, cells=1, channels=8, image=32),
    "nasrnn": partial(nasrnn, length=2, hidden=16),
    "resnet18": partial(resnet18, blocks=(1, 1), channels=8, image=32, classes=10),
}


def run(model: ModelProto, *inputs: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """Results for every one of ``inputs``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [session.run(None, values) for values in inputs]


def parameters(model: ModelProto) -> int:
    """Learned values; the running statistics of batch normalisations and literals in the code are none."""
    statistics = {i for node in model.graph.node if node.op_type == "BatchNormalization" for i in node.input[3:]}
    learned = (t for t in model.graph.initializer if t.name not in statistics and t.data_type == TensorProto.FLOAT)
    return sum(int(np.prod(t.dims)) for t in learned if t.dims)


def shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    known = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in known.value_info}


def sane_results(model: ModelProto) -> list[np.ndarray]:
    """Results for random inputs, which neither vanish nor explode nor are the same for other inputs."""
    results, others = run(model, random_inputs(model), random_inputs(model, seed=1))
    for result, other in zip(results, others, strict=True):
        assert np.isfinite(result).all()
        assert 0.02 < result.std() < 20
        assert np.abs(result - other).max() > 1e-2 * np.abs(result).max(), "the result ignores the input"
    return results


def test_benchmark_names_ten_models() -> None:
    assert len(set(BENCHMARK)) == 10
    assert set(BENCHMARK) <= MODELS.keys()
    assert set(PUBLISHED) <= set(BENCHMARK)


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - CONVOLUTIONS.keys()))
def test_light_models_are_of_the_published_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only sizes matter here, and VGG-19 has 570 MB of weights to draw.
    module = import_module("examples.models.light")
    monkeypatch.setattr(module, "_weight", lambda rng, op, position, shape, square: np.zeros(shape, "f4"))
    assert parameters(build(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutional_networks_are_as_published(name: str) -> None:
    model = build(name)
    onnx.checker.check_model(model, full_check=True)
    assert parameters(model) == PUBLISHED[name]

    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Conv"] == kinds["BatchNormalization"] == CONVOLUTIONS[name]
    assert all(len(node.input) == 2 for node in model.graph.node if node.op_type == "Conv"), "a bias before BN"
    pooled = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
    assert shapes(model)[pooled.input[0]] == POOLED[name]

    size = 299 if name == "inception_v3" else 224
    assert random_inputs(model)["image"].shape == (1, 3, size, size)
    assert [r.shape for r in sane_results(model)] == [(1, 1000)]


def test_csrnet_is_of_the_published_size() -> None:
    """Without biases, as PET has it; the published network has one for each channel."""
    model = build("csrnet")
    assert parameters(model) == 9 * 512 * (3 * 512 + 256) + 9 * (256 * 128 + 128 * 64) + 64
    dilations = [list(a.ints) for node in model.graph.node for a in node.attribute if a.name == "dilations"]
    assert dilations == [[2, 2]] * 6 + [[1, 1]]
    assert random_inputs(model)["features"].shape == (1, 512, 14, 14)
    assert [r.shape for r in sane_results(model)] == [(1, 1, 14, 14)]


def test_nasneta_is_tensats() -> None:
    def stage(inner: int, outer: int) -> int:
        """Parameters of five normal cells and a reduction cell, on ``outer`` channels."""
        both = [outer + outer, 5 * inner + outer, *[5 * inner + 5 * inner] * 3]
        normal = sum(inner * channels + 5 * (3 * 3 * inner + inner**2) for channels in both)
        taps = 7 * 7 + 5 * 5 + 7 * 7 + 5 * 5 + 3 * 3
        twice = 2 * inner
        return normal + twice * 10 * inner + taps * twice + 5 * twice**2

    model = build("nasneta")
    expected = 7 * 7 * 3 * 64 + stage(128, 64) + stage(256, 5 * 256) + stage(512, 5 * 512)
    assert parameters(model) == expected == 39_838_528
    assert [r.shape for r in sane_results(model)] == [(1, 5 * 1024, 7, 7)]


def test_bert_is_tensats() -> None:
    model = build("bert_tensat")
    assert parameters(model) == 8 * 4 * 1024 * 1024
    assert Counter(node.op_type for node in model.graph.node)["MatMul"] == 8 * 6
    inputs = random_inputs(model)
    assert {name: value.shape for name, value in inputs.items()} == {"input": (64, 1024)}
    assert [r.shape for r in sane_results(model)] == [(64, 1024)] * 9


def test_bert_computes_what_tensat_says() -> None:
    model = bert_tensat(layers=2, seq=4, hidden=12, heads=3)
    inputs = random_inputs(model)
    w = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    x = np.maximum(inputs["input"], 0)
    expected = []
    for layer in range(2):
        q, k, v = (
            (x @ w[f"layer.{layer}.{part}.weight"]).reshape(4, 3, 4).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        expected.append((q @ k @ v).swapaxes(0, 1).reshape(4, 12))
        x = x @ w[f"layer.{layer}.linear.weight"]
    for found, value in zip(run(model, inputs)[0], [*expected, x], strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)


def test_nasrnn_is_tensats() -> None:
    model = build("nasrnn")
    assert parameters(model) == 5 * 8 * 2 * 512 * 512 + 512
    kinds = Counter(node.op_type for node in model.graph.node)
    assert [kinds[k] / 5 for k in ("MatMul", "Relu", "Sigmoid", "Tanh", "Add", "Mul")] == [16, 2, 5, 8, 8 + 3, 4]
    inputs = random_inputs(model)
    assert {value.shape for value in inputs.values()} == {(1, 512)} and len(inputs) == 5
    assert [r.shape for r in sane_results(model)] == [(1, 512)]


def test_nasrnn_computes_the_cell_of_the_paper() -> None:
    model = nasrnn(length=2, hidden=6)
    inputs = random_inputs(model)
    w = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    state = w["first_state"]
    for step in range(2):
        gates = [
            inputs[f"x_{step}"] @ w[f"step.{step}.gate.{i}.x.weight"] + state @ w[f"step.{step}.gate.{i}.state.weight"]
            for i in range(8)
        ]
        relus, tanhs, sigmoids = np.maximum(gates, 0), np.tanh(gates), 1 / (1 + np.exp(-np.array(gates)))
        candidate = 1 / (1 + np.exp(-sigmoids[1] - tanhs[2])) + np.tanh(sigmoids[4] * tanhs[5])
        passed = np.tanh(relus[0] + sigmoids[3]) * np.tanh(sigmoids[6] * relus[7])
        state = np.tanh(np.tanh(candidate) * np.tanh(passed))
    np.testing.assert_allclose(run(model, inputs)[0][0], state, rtol=1e-4, atol=1e-6)


def test_gpt2_is_of_the_published_size() -> None:
    """One of the twelve layers, 9 of 50,257 words and 8 of 1,024 positions of the published model."""
    model = gpt2(layers=1, seq=8, vocab=9)
    assert parameters(model) == 124_439_808 - 11 * 7_087_872 - (50_257 - 9 + 1024 - 8) * 768


def test_gpt2_looks_only_back() -> None:
    model = gpt2(layers=2, hidden=32, heads=4, seq=8)
    inputs = random_inputs(model)["embeddings"]
    others = inputs.copy()
    others[0, 5] *= -1
    (before,), (after,) = run(model, {"embeddings": inputs}, {"embeddings": others})
    changed = np.abs(after - before).max(axis=(0, 2))
    assert changed[:5].max() == 0
    assert changed[5:].min() > 1e-3


def numpy_gpt2_layer(x: np.ndarray, w: dict[str, np.ndarray], heads: int) -> np.ndarray:
    """One decoder layer and the last normalisation, written from the paper."""

    def linear(v: np.ndarray, name: str) -> np.ndarray:
        return v @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        spread = np.sqrt(v.var(-1, keepdims=True) + 1e-5)
        return (v - v.mean(-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    seq, hidden = x.shape
    q, k, v = np.split(linear(norm(x, "h.0.ln_1"), "h.0.attn.c_attn"), 3, axis=-1)
    mixed = np.empty_like(x)
    for part in (slice(start, start + hidden // heads) for start in range(0, hidden, hidden // heads)):
        for row in range(seq):
            scores = np.exp(k[: row + 1, part] @ q[row, part] / np.sqrt(hidden // heads))
            mixed[row, part] = scores / scores.sum() @ v[: row + 1, part]
    x = x + linear(mixed, "h.0.attn.c_proj")
    inner = linear(norm(x, "h.0.ln_2"), "h.0.mlp.c_fc")
    inner = inner / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return norm(x + linear(inner, "h.0.mlp.c_proj"), "ln_f")


def test_gpt2_computes_what_the_paper_says() -> None:
    model = gpt2(layers=1, hidden=24, heads=3, seq=6)
    onnx.checker.check_model(model, full_check=True)
    inputs = random_inputs(model)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    expected = numpy_gpt2_layer(inputs["embeddings"][0].astype(np.float64), weights, 3)
    np.testing.assert_allclose(run(model, inputs)[0][0][0], expected, rtol=1e-4, atol=1e-5)


def test_forty_eight_layers_stay_sane() -> None:
    model = gpt2(layers=48, hidden=64, heads=4, seq=16)
    assert Counter(node.op_type for node in model.graph.node)["Softmax"] == 48
    sane_results(model)


def test_mobilenet_with_plain_activations() -> None:
    kinds = {relu6: Counter(n.op_type for n in mobilenet_v2(relu6=relu6).graph.node) for relu6 in (True, False)}
    assert kinds[True]["Clip"] == kinds[False]["Relu"] == 35
    assert not kinds[True]["Relu"] and not kinds[False]["Clip"]
    assert kinds[True]["Add"] == 10


def test_networks_that_are_slow_to_compile_are_sane_when_small() -> None:
    """In onnxruntime only: TVM takes 3 and 15 seconds to compile all of their different convolutions."""
    sane_results(resnext50(blocks=(1, 1), groups=4, group_width=8, channels=16, image=32, classes=10))
    sane_results(inception_v3(75, width=0.1, classes=10))


@pytest.mark.parametrize("name", SMALL)
def test_small_models_agree_in_tvm(name: str) -> None:
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model = SMALL[name]()
    onnx.checker.check_model(model, full_check=True)
    assert model == SMALL[name](seed=0)
    assert model != SMALL[name](seed=1)
    inputs = random_inputs(model)
    expected = sane_results(model)

    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), tvm.target.Target("llvm")), tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, inputs.values()))
    results = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
    for result, other in zip(results, expected, strict=True):
        assert np.abs(result.numpy() - other).max() <= 1e-5 * np.abs(other).max()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        gpt2(hidden=10, heads=3)
    with pytest.raises(ValueError, match="seq × heads"):
        bert_tensat(seq=32)
    with pytest.raises(ValueError, match="too small"):
        inception_v3(74)
    with pytest.raises(ValueError, match="multiple of 64"):
        resnet(bottleneck=True, channels=8, group_width=4)
