"""Two benchmarks of TENSAT (Yang et al., MLSys 2021) as its sources define them, with random weights.

They are simplified networks: what its tables call BERT has no softmax, no normalisation and no feed-forward layers,
and its layers don't build on what attention computes.
"""

from __future__ import annotations

from onnx import ModelProto

from .onnx_graph import Graph


def bert_tensat(layers: int = 8, seq: int = 64, hidden: int = 1024, heads: int = 16, *, seed: int = 0) -> ModelProto:
    """TENSAT's BERT (``src/bert.rs``): four matrix products of the same operand per layer, and two per head.

    Parameters
    ----------
    layers, seq, hidden, heads : int
        Number of layers, sequence length, width and attention heads. Keys aren't transposed, hence ``seq * heads``
        must be ``hidden``.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``input`` float32 [seq, hidden]. Outputs, of the same shape: ``attention_0`` … of every
        layer, and ``last``, the end of the chain of layers.

    Raises
    ------
    ValueError
        ``seq * heads`` isn't ``hidden``.
    """
    if seq * heads != hidden:
        raise ValueError(f"seq × heads must be hidden, but {seq} × {heads} isn't {hidden}")
    g = Graph(seed)
    x = g.op("Relu", g.input("input", [seq, hidden]), name="input")
    for layer in range(layers):
        name = f"layer.{layer}"
        g.output(f"attention_{layer}", _attention(g, x, seq, heads, name=name), [seq, hidden])
        x = g.matmul(x, hidden, hidden, name=f"{name}.linear")
    g.output("last", x, [seq, hidden])
    return g.model("bert_tensat")


def _attention(g: Graph, x: str, seq: int, heads: int, *, name: str) -> str:
    """Both products of attention, without the softmax between them."""
    hidden = seq * heads

    def project(which: str, gain: float) -> str:
        path = f"{name}.{which}"
        product = g.matmul(x, hidden, hidden, name=path, gain=gain)
        return g.op("Transpose", g.op("Reshape", product, split, name=path), name=path, perm=[1, 0, 2])

    split = g.constant([seq, heads, seq])
    # Each of the two products that follow sums over seq values; these gains undo what that does to the scale.
    scores = g.op("MatMul", project("query", seq**-0.25), project("key", seq**-0.25), name=f"{name}.scores")
    mixed = g.op("MatMul", scores, project("value", seq**-0.5), name=name)
    return g.op("Reshape", g.op("Transpose", mixed, name=name, perm=[1, 0, 2]), g.constant([seq, hidden]), name=name)


def nasrnn(length: int = 5, hidden: int = 512, *, seed: int = 0) -> ModelProto:
    """The recurrent cell that Zoph and Le found (ICLR 2017), unrolled as in TENSAT's ``src/nasrnn.rs``.

    Parameters
    ----------
    length, hidden : int
        Number of steps, and width. Every step has its own weights, as in TENSAT.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Inputs: ``x_0`` … float32 [1, hidden], one for each step; the first state is a weight. Output:
        ``state`` float32 [1, hidden].
    """
    g = Graph(seed)
    inputs = [g.input(f"x_{step}", [1, hidden]) for step in range(length)]
    state = g.normal("first_state", (1, hidden), 0.5)
    for step, x in enumerate(inputs):
        state = _nas_cell(g, x, state, hidden, name=f"step.{step}")
    g.output("state", state, [1, hidden])
    return g.model("nasrnn")


def _nas_cell(g: Graph, x: str, state: str, hidden: int, *, name: str) -> str:
    """One step: a binary tree over eight sums of two matrix products."""

    def apply(kind: str, operand: str) -> str:
        return g.op(kind, operand, name=operand.removesuffix("_output_0"))

    def combine(kind: str, left: str, right: str, node: str) -> str:
        return g.op(kind, left, right, name=f"{name}.{node}")

    def leaf(i: int) -> str:
        path = f"{name}.gate.{i}"
        from_x, from_state = (
            g.matmul(value, hidden, hidden, name=f"{path}.{which}") for value, which in ((x, "x"), (state, "state"))
        )
        return g.op("Add", from_x, from_state, name=path)

    gates = [leaf(i) for i in range(8)]
    first = combine("Add", apply("Relu", gates[0]), apply("Sigmoid", gates[3]), "node.0")
    second = combine("Add", apply("Sigmoid", gates[1]), apply("Tanh", gates[2]), "node.1")
    third = combine("Mul", apply("Sigmoid", gates[4]), apply("Tanh", gates[5]), "node.2")
    fourth = combine("Mul", apply("Sigmoid", gates[6]), apply("Relu", gates[7]), "node.3")
    fifth = combine("Add", apply("Sigmoid", second), apply("Tanh", third), "node.4")
    sixth = combine("Mul", apply("Tanh", first), apply("Tanh", fourth), "node.5")
    return apply("Tanh", combine("Mul", apply("Tanh", fifth), apply("Tanh", sixth), "node.6"))
