"""A BERT encoder (Devlin et al., NAACL 2019) as PyTorch's ONNX exporter writes it, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

_OPSET = 17  # the first with LayerNormalization
_IR_VERSION = 8
_EPSILON = 1e-12  # BERT's own


class _Graph:
    """The nodes and initializers of an ONNX graph while it is built."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.rng = np.random.default_rng(seed)
        self._constants: dict[bytes, str] = {}

    def op(self, kind: str, *operands: str, name: str, **attrs: Any) -> str:
        """Append a node and return the name of its result."""
        out = f"{name}/{kind}_output_0"
        self.nodes.append(helper.make_node(kind, list(operands), [out], name=f"{name}/{kind}", **attrs))
        return out

    def store(self, name: str, value: np.ndarray) -> str:
        """Add an initializer."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, name: str, shape: Sequence[int], std: float, mean: float = 0.0) -> str:
        """Add a float32 initializer with normally distributed values."""
        values = self.rng.standard_normal(shape, dtype=np.float32)
        return self.store(name, values * np.float32(std) + np.float32(mean))

    def constant(self, value: float | Sequence[int]) -> str:
        """A float32 scalar, or an int64 vector; equal ones are stored once."""
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        key = array.dtype.char.encode() + array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.store(f"onnx::Constant_{len(self._constants)}", array)
        return self._constants[key]

    def linear(self, x: str, inner: int, outer: int, *, name: str, gain: float = 1.0) -> str:
        """``x @ W + b``; W multiplies the root mean square of x by ``gain``."""
        weight = self.normal(f"{name}.weight", (inner, outer), gain / sqrt(inner))
        bias = self.normal(f"{name}.bias", (outer,), 0.1)
        return self.op("Add", bias, self.op("MatMul", x, weight, name=name), name=name)

    def layer_norm(self, x: str, hidden: int, *, name: str) -> str:
        """Layer normalisation over the last axis."""
        scale = self.normal(f"{name}.weight", (hidden,), 0.1, mean=1.0)
        bias = self.normal(f"{name}.bias", (hidden,), 0.1)
        return self.op("LayerNormalization", x, scale, bias, name=name, axis=-1, epsilon=_EPSILON)

    def gelu(self, x: str, *, name: str) -> str:
        """``x / 2 * (1 + erf(x / sqrt(2)))``, decomposed as exporters do for opsets below 20."""
        erf = self.op("Erf", self.op("Div", x, self.constant(sqrt(2.0)), name=name), name=name)
        product = self.op("Mul", x, self.op("Add", erf, self.constant(1.0), name=name), name=name)
        return self.op("Mul", product, self.constant(0.5), name=f"{name}/half")


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
    g = _Graph(seed)
    # Residual branches as weak as in GPT-2's initialisation: otherwise all tokens grow alike with depth, and
    # attention becomes a plain average, which would hide errors.
    gain = 1 / sqrt(2 * max(layers, 1))
    inputs: list[ValueInfoProto] = []
    if vocab is None:
        x = "embeddings"
        inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, seq, hidden]))
    else:
        inputs.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, seq]))
        x = _embed(g, vocab, seq, hidden)
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.FLOAT, [batch, 1, 1, seq]))

    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        attended = _attention(g, x, (batch, seq, hidden, heads), mask, gain, name=f"{name}.attention")
        x = g.layer_norm(g.op("Add", attended, x, name=f"{name}.attention/residual"), hidden, name=f"{name}.norm1")
        inner = g.gelu(g.linear(x, hidden, ffn, name=f"{name}.intermediate"), name=f"{name}.gelu")
        outer = g.linear(inner, ffn, hidden, name=f"{name}.output", gain=gain)
        x = g.layer_norm(g.op("Add", outer, x, name=f"{name}.output/residual"), hidden, name=f"{name}.norm2")

    g.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"], name="last_hidden_state"))
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [batch, seq, hidden])
    graph = helper.make_graph(g.nodes, "bert", inputs, [output], g.initializers)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="tvm-eqsat examples",
    )


def _embed(g: _Graph, vocab: int, seq: int, hidden: int) -> str:
    """Word plus position embeddings, normalised."""
    words = g.op("Gather", g.normal("embeddings.word", (vocab, hidden), 1.0), "input_ids", name="embeddings.word")
    positions = g.normal("embeddings.position", (1, seq, hidden), 0.3)
    return g.layer_norm(g.op("Add", words, positions, name="embeddings"), hidden, name="embeddings.norm")


def _attention(g: _Graph, x: str, dims: tuple[int, int, int, int], mask: bool, gain: float, *, name: str) -> str:
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
