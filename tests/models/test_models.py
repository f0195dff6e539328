"""The example models: valid ONNX, random weights of a sane scale, the same result in TVM and onnxruntime."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

from examples.models import LIGHT, MODELS, bert_base, build, light, random_inputs
from examples.models.__main__ import main
from tests.models.sizes import BIG

TINY = {"layers": 1, "hidden": 16, "heads": 2, "seq": 4, "ffn": 32}


def run(model: ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)


def weights(model: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("name", [name for name in LIGHT if name not in BIG])
def test_light_models_have_random_weights_and_sane_logits(name: str) -> None:
    model = light(name, logits=True)
    onnx.checker.check_model(model, full_check=True)

    assert len(model.graph.input) == 1
    assert "ConstantOfShape" not in {node.op_type for node in model.graph.node}
    values = weights(model)
    for weight, array in values.items():
        if array.dtype == np.float32:
            assert array.size == 1 or array.std() > 0.005, f"{weight} is constant"
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert values[node.input[4]].min() > 0

    first, second = (run(model, random_inputs(model, seed=seed)) for seed in (0, 1))
    logits = first[-1]
    assert logits.size == 1000 and np.isfinite(logits).all()
    assert 0.1 < logits.std() < 20
    assert np.abs(first[-1] - second[-1]).max() > 1e-3 * np.abs(logits).max(), "the result ignores the input"
    if len(first) == 2:
        assert first[0].max() < 0.95, "the softmax saturates"
        exps = np.exp(logits - logits.max())
        np.testing.assert_allclose(first[0].ravel(), (exps / exps.sum()).ravel(), rtol=1e-4, atol=1e-9)


def test_logits_are_an_option() -> None:
    assert [o.name for o in light("squeezenet").graph.output] == ["softmaxout_1"]
    assert len(light("squeezenet", logits=True).graph.output) == 2


def test_seed_decides_the_weights() -> None:
    assert light("squeezenet", seed=3) == light("squeezenet", seed=3)
    assert light("squeezenet", seed=3) != light("squeezenet", seed=4)
    assert bert_base(**TINY, seed=3) == bert_base(**TINY, seed=3)
    assert bert_base(**TINY, seed=3) != bert_base(**TINY, seed=4)


def test_unknown_models_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="squeezenet"):
        light("alexnet")
    with pytest.raises(ValueError, match="bert_base"):
        build("bert")


def test_bert_layer_is_bert_base_sized() -> None:
    model = bert_base(layers=1)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    # Q, K, V, scores, mix, output and two of the feed-forward layer
    assert kinds.count("MatMul") == 8
    assert kinds.count("Softmax") == 1 and kinds.count("LayerNormalization") == 2 and kinds.count("Erf") == 1
    learned = [a for n, a in weights(model).items() if n.startswith("encoder.")]
    assert sum(a.size for a in learned) == 7_087_872  # one of the twelve layers of the published model


def numpy_bert_layer(x: np.ndarray, w: dict[str, np.ndarray], heads: int, mask: np.ndarray) -> np.ndarray:
    """One encoder layer, written from the paper."""
    from math import erf

    def linear(v: np.ndarray, name: str) -> np.ndarray:
        return v @ w[f"encoder.layer.0.{name}.weight"] + w[f"encoder.layer.0.{name}.bias"]

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        v = (v - v.mean(-1, keepdims=True)) / v.std(-1, keepdims=True)
        return v * w[f"encoder.layer.0.{name}.weight"] + w[f"encoder.layer.0.{name}.bias"]

    q, k, v = (linear(x, f"attention.{part}") for part in ("query", "key", "value"))
    depth = x.shape[-1] // heads
    mixed = np.empty_like(x)
    for h in range(heads):
        part = slice(h * depth, (h + 1) * depth)
        scores = np.exp(q[..., part] @ k[..., part].swapaxes(-1, -2) / np.sqrt(depth) + mask[:, 0])
        mixed[..., part] = scores / scores.sum(-1, keepdims=True) @ v[..., part]
    x = norm(linear(mixed, "attention.output") + x, "norm1")
    inner = linear(x, "intermediate")
    inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
    return norm(linear(inner, "output") + x, "norm2")


def test_bert_computes_what_the_paper_says() -> None:
    model = bert_base(**TINY, batch=2, mask=True)
    inputs = random_inputs(model)
    inputs["attention_mask"][0, ..., -1] = -1e9
    expected = numpy_bert_layer(
        inputs["embeddings"].astype(np.float64), weights(model), TINY["heads"], inputs["attention_mask"]
    )
    np.testing.assert_allclose(run(model, inputs)[0], expected, rtol=1e-4, atol=1e-5)


def test_bert_from_token_numbers() -> None:
    model = bert_base(**TINY, vocab=11)
    onnx.checker.check_model(model, full_check=True)
    inputs = random_inputs(model)
    assert inputs["input_ids"].dtype == np.int64 and inputs["input_ids"].max() < 11
    assert run(model, inputs)[0].shape == (1, 4, 16)


def test_bert_attends_selectively() -> None:
    """Attention that is a plain average would hide a wrong rewrite of the scores."""
    model = build("bert_small")
    name = next(node.output[0] for node in reversed(model.graph.node) if node.op_type == "Softmax")
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    hidden, attention = run(model, random_inputs(model))
    assert attention.max(-1).mean() > 2 / attention.shape[-1]
    assert 0.5 < hidden.std() < 2


def test_bert_refuses_uneven_heads() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        bert_base(hidden=10, heads=3)


@pytest.mark.parametrize("options", [{}, {"vocab": 50, "mask": True}], ids=["embeddings", "tokens-mask"])
def test_bert_agrees_in_tvm(options: dict[str, int]) -> None:
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model = bert_base(layers=1, hidden=64, heads=4, seq=16, ffn=128, **options)
    inputs = random_inputs(model)
    module = from_onnx(model)
    executable = tvm.compile(module, tvm.target.Target("llvm"))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](*map(tvm.runtime.tensor, inputs.values()))
    expected = run(model, inputs)[0]
    assert np.abs(result.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_command_writes_a_model(tmp_path, capsys) -> None:
    path = tmp_path / "bert.onnx"
    assert main(["bert_small", "-o", str(path), "--seed", "7", "--batch", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts == {"name": "bert_small", "seed": 7, "batch": 2, "file": str(path), "bytes": path.stat().st_size}
    assert onnx.load(str(path)) == build("bert_small", seed=7, batch=2)
    assert [p.name for p in tmp_path.iterdir()] == ["bert.onnx"]


def test_command_lists_models(capsys) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(MODELS)
    assert main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": list(MODELS)}


def test_command_leaves_nothing_behind_on_failure(tmp_path, capsys) -> None:
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "folder", tmp_path / "missing" / "m.onnx"):
        assert main(["bert_small", "-o", str(target)]) == 1
        assert f"can't write {target}" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_command_refuses_unknown_names(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["nonsense"])
    assert stop.value.code == 2
    assert "squeezenet" in capsys.readouterr().err
