"""A BERT encoder (Devlin et al., NAACL 2019) as PyTorch's ONNX exporter writes it, with random weights."""

from __future__ import annotations

from math import sqrt

from onnx import ModelProto, TensorProto

from .onnx_graph import Graph


def bert_base(
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    seq: int = 128,
    ffn: int = 3072,
    *,
    batch: int = 1,
    vocab: int | None = None,
    mask: bool = False,
    seed: int = 0,
) -> ModelProto:
    """The encoder of BERT-base, or a smaller one.

    Parameters
    ----------
    layers, hidden, heads, seq, ffn : int
        Number of layers, width, attention heads, sequence length, and width of the feed-forward layer.
    batch : int
        Number of sequences.
    vocab : int, optional
        Size of the vocabulary. With it, the model starts from token numbers and has BERT's embedding layer (word
        and position embeddings); without it, it starts from embeddings.
    mask : bool
        Whether there is a second input that is added to the attention scores: 0 where a token may be attended
        to, a large negative number where it may not.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Inputs: ``embeddings`` float32 [batch, seq, hidden], or ``input_ids`` int64 [batch, seq]; with
        ``mask``, ``attention_mask`` float32 [batch, 1, 1, seq]. Output: ``last_hidden_state`` float32 [batch, seq,
        hidden].

    Raises
    ------
    ValueError
        ``hidden`` isn't a multiple of ``heads``.
    """
    if hidden % heads:
        raise ValueError(f"hidden must be a multiple of heads, but {hidden} isn't one of {heads}")
    g = Graph(seed)
    # Residual branches as weak as in GPT-2's initialisation: otherwise all tokens grow alike with depth, and
    # attention becomes a plain average, which would hide errors.
    gain = 1 / sqrt(2 * max(layers, 1))
    if vocab is None:
        x = g.input("embeddings", [batch, seq, hidden])
    else:
        x = _embed(g, g.input("input_ids", [batch, seq], TensorProto.INT64), vocab, seq, hidden)
    if mask:
        g.input("attention_mask", [batch, 1, 1, seq])

    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        attended = _attention(g, x, (batch, seq, hidden, heads), mask, gain, name=f"{name}.attention")
        x = _norm(g, g.op("Add", attended, x, name=f"{name}.attention/residual"), hidden, name=f"{name}.norm1")
        inner = _gelu(g, g.linear(x, hidden, ffn, name=f"{name}.intermediate"), name=f"{name}.gelu")
        outer = g.linear(inner, ffn, hidden, name=f"{name}.output", gain=gain)
        x = _norm(g, g.op("Add", outer, x, name=f"{name}.output/residual"), hidden, name=f"{name}.norm2")

    g.output("last_hidden_state", x, [batch, seq, hidden])
    return g.model("bert")


def _embed(g: Graph, ids: str, vocab: int, seq: int, hidden: int) -> str:
    """Word plus position embeddings, normalised."""
    words = g.op("Gather", g.normal("embeddings.word", (vocab, hidden), 1.0), ids, name="embeddings.word")
    positions = g.normal("embeddings.position", (1, seq, hidden), 0.3)
    return _norm(g, g.op("Add", words, positions, name="embeddings"), hidden, name="embeddings.norm")


def _norm(g: Graph, x: str, hidden: int, *, name: str) -> str:
    return g.layer_norm(x, hidden, name=name, epsilon=1e-12)  # BERT's own


def _gelu(g: Graph, x: str, *, name: str) -> str:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, decomposed as exporters do for opsets below 20."""
    erf = g.op("Erf", g.op("Div", x, g.constant(sqrt(2.0)), name=name), name=name)
    product = g.op("Mul", x, g.op("Add", erf, g.constant(1.0), name=name), name=name)
    return g.op("Mul", product, g.constant(0.5), name=f"{name}/half")


def _attention(g: Graph, x: str, dims: tuple[int, int, int, int], mask: bool, gain: float, *, name: str) -> str:
    """Multi-head attention with three separate projections, and its output projection."""
    batch, seq, hidden, heads = dims
    split = g.constant([batch, seq, heads, hidden // heads])

    def project(which: str, perm: list[int]) -> str:
        path = f"{name}.{which}"
        value = g.op("Reshape", g.linear(x, hidden, hidden, name=path), split, name=path)
        return g.op("Transpose", value, name=path, perm=perm)

    query = project("query", [0, 2, 1, 3])
    key = project("key", [0, 2, 3, 1])  # exporters merge the transposition of K into this one
    value = project("value", [0, 2, 1, 3])
    scores = g.op("MatMul", query, key, name=f"{name}.scores")
    scores = g.op("Div", scores, g.constant(sqrt(hidden // heads)), name=f"{name}.scores")
    if mask:
        scores = g.op("Add", scores, "attention_mask", name=f"{name}.scores")
    weights = g.op("Softmax", scores, name=name, axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", weights, value, name=name), name=name, perm=[0, 2, 1, 3])
    merged = g.op("Reshape", mixed, g.constant([batch, seq, hidden]), name=name)
    return g.linear(merged, hidden, hidden, name=f"{name}.output", gain=gain)
