"""The transformer that PET calls BERT (H. Wang et al., OSDI 2021), as its sources define it, with random weights.

Its projections have no biases, its scores aren't scaled, its feed-forward layers are as wide as the model, and nothing
is normalised.
"""

from __future__ import annotations

from math import sqrt

from onnx import ModelProto

from .onnx_graph import Graph


def bert_pet(
    layers: int = 12, seq: int = 512, hidden: int = 768, heads: int = 12, *, batch: int = 1, seed: int = 0
) -> ModelProto:
    """PET's BERT (``models-ae/berts.py``).

    Parameters
    ----------
    layers, seq, hidden, heads : int
        Number of layers, sequence length, width and attention heads.
    batch : int
        Number of sequences.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``embeddings`` float32 [batch, seq, hidden]. Output of the same type: ``last``.

    Raises
    ------
    ValueError
        ``hidden`` isn't a multiple of ``heads``.
    """
    if hidden % heads:
        raise ValueError(f"hidden must be a multiple of heads, but {hidden} isn't one of {heads}")
    g = Graph(seed)
    x = g.input("embeddings", [batch, seq, hidden])
    for layer in range(layers):
        name = f"layers.{layer}"
        y = _attention(g, x, (batch, seq, hidden, heads), layer, name=name)
        for part in ("ff1", "ff2"):
            y = g.op("Relu", g.linear(y, hidden, hidden, name=f"{name}.{part}"), name=f"{name}.{part}.relu")
        x = g.op("Add", x, y, name=name)
    g.output("last", x, [batch, seq, hidden])
    return g.model("bert_pet")


def _attention(g: Graph, x: str, dims: tuple[int, int, int, int], layer: int, *, name: str) -> str:
    """Multi-head attention without an output projection."""
    batch, seq, hidden, heads = dims
    split = g.constant([batch, seq, heads, hidden // heads])
    # What each layer adds makes the values grow; weights that undo it keep attention from picking single tokens.
    scale = 1 / sqrt(1 + layer)

    def project(which: str, gain: float, perm: list[int]) -> str:
        path = f"{name}.{which}"
        value = g.op("Reshape", g.matmul(x, hidden, hidden, name=path, gain=gain), split, name=path)
        return g.op("Transpose", value, name=path, perm=perm)

    query = project("q", scale / sqrt(hidden // heads), [0, 2, 1, 3])
    key = project("k", scale, [0, 2, 3, 1])
    value = project("v", 1.0, [0, 2, 1, 3])
    scores = g.op("MatMul", query, key, name=f"{name}.scores")
    weights = g.op("Softmax", scores, name=name, axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", weights, value, name=name), name=name, perm=[0, 2, 1, 3])
    return g.op("Reshape", mixed, g.constant([batch, seq, hidden]), name=name)
