"""GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019), with random weights."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from onnx import ModelProto, TensorProto

from .onnx_graph import Graph


def gpt2(
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    seq: int = 64,
    *,
    vocab: int | None = None,
    seed: int = 0,
) -> ModelProto:
    """The decoder of GPT-2 over a whole sequence, without a cache of keys and values.

    Parameters
    ----------
    layers, hidden, heads, seq : int
        Number of layers, width, attention heads and sequence length. The feed-forward layer is four times as wide.
    vocab : int, optional
        Size of the vocabulary. With it, the model goes from token numbers to logits, and one table serves for both;
        without it, from embeddings to the last hidden state.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``embeddings`` float32 [1, seq, hidden], or ``input_ids`` int64 [1, seq]. Output:
        ``last_hidden_state`` float32 [1, seq, hidden], or ``logits`` float32 [1, seq, vocab].

    Raises
    ------
    ValueError
        ``hidden`` isn't a multiple of ``heads``.
    """
    if hidden % heads:
        raise ValueError(f"hidden must be a multiple of heads, but {hidden} isn't one of {heads}")
    g = Graph(seed)
    gain = 1 / sqrt(2 * max(layers, 1))  # of both residual branches, as in the paper
    causal = g.store("attn.bias", np.tril(np.ones((1, 1, seq, seq), bool)))
    if vocab is None:
        x = g.input("embeddings", [1, seq, hidden])
    else:
        std = 1 / sqrt(hidden)  # at which logits are of order 1
        table = g.normal("wte.weight", (vocab, hidden), std)
        words = g.op("Gather", table, g.input("input_ids", [1, seq], TensorProto.INT64), name="wte")
        x = g.op("Add", words, g.normal("wpe.weight", (seq, hidden), 0.5 * std), name="embeddings")

    for layer in range(layers):
        name = f"h.{layer}"
        normal = g.layer_norm(x, hidden, name=f"{name}.ln_1")
        attended = _attention(g, normal, causal, (seq, hidden, heads), gain, name=f"{name}.attn")
        x = g.op("Add", attended, x, name=f"{name}.attn/residual")
        normal = g.layer_norm(x, hidden, name=f"{name}.ln_2")
        inner = _gelu(g, g.linear(normal, hidden, 4 * hidden, name=f"{name}.mlp.c_fc"), name=f"{name}.mlp.act")
        outer = g.linear(inner, 4 * hidden, hidden, name=f"{name}.mlp.c_proj", gain=gain)
        x = g.op("Add", x, outer, name=f"{name}.mlp/residual")
    x = g.layer_norm(x, hidden, name="ln_f")

    if vocab is None:
        g.output("last_hidden_state", x, [1, seq, hidden])
    else:
        logits = g.op("MatMul", x, g.op("Transpose", table, name="lm_head", perm=[1, 0]), name="lm_head")
        g.output("logits", logits, [1, seq, vocab])
    return g.model("gpt2")


def _attention(g: Graph, x: str, causal: str, dims: tuple[int, int, int], gain: float, *, name: str) -> str:
    """Masked multi-head attention with one projection for query, key and value, and its output projection."""
    seq, hidden, heads = dims
    path = f"{name}.c_attn"
    fused = g.linear(x, hidden, 3 * hidden, name=path)
    parts = g.split(fused, [hidden] * 3, axis=2, name=path)
    shape = g.constant([1, seq, heads, hidden // heads])

    def heads_first(part: str, which: str, perm: list[int]) -> str:
        return g.op(
            "Transpose", g.op("Reshape", part, shape, name=f"{name}.{which}"), name=f"{name}.{which}", perm=perm
        )

    query = heads_first(parts[0], "query", [0, 2, 1, 3])
    key = heads_first(parts[1], "key", [0, 2, 3, 1])
    value = heads_first(parts[2], "value", [0, 2, 1, 3])
    scores = g.op(
        "Div", g.op("MatMul", query, key, name=f"{name}.scores"), g.constant(sqrt(hidden // heads)), name=name
    )
    least = g.constant(float(np.finfo(np.float32).min))
    weights = g.op("Softmax", g.op("Where", causal, scores, least, name=name), name=name, axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", weights, value, name=name), name=name, perm=[0, 2, 1, 3])
    merged = g.op("Reshape", mixed, g.constant([1, seq, hidden]), name=name)
    return g.linear(merged, hidden, hidden, name=f"{name}.c_proj", gain=gain)


def _gelu(g: Graph, x: str, *, name: str) -> str:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``: Hendrycks and Gimpel's approximation."""
    cube = g.op("Mul", g.op("Pow", x, g.constant(3.0), name=name), g.constant(0.044715), name=f"{name}/cube")
    inner = g.op("Mul", g.op("Add", x, cube, name=f"{name}/inner"), g.constant(sqrt(2 / pi)), name=f"{name}/inner")
    bent = g.op("Add", g.op("Tanh", inner, name=name), g.constant(1.0), name=name)
    return g.op("Mul", g.op("Mul", x, g.constant(0.5), name=f"{name}/half"), bent, name=name)
