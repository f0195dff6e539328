"""The nine real network graphs that the ``onnx`` package ships for its own tests, with random weights.

``onnx`` stores the graphs only: nearly every weight is ``ConstantOfShape`` with 0.02. Constant weights hide wrong
rewrites (swapped channels give the same result), so all of them are replaced by seeded random ones of a scale at
which activations neither vanish nor explode.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

LIGHT = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)

_FILES = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_IR_VERSION = 8  # from 4 on, an initializer needn't be listed as a graph input too
_VIEWS = {"Reshape", "Unsqueeze"}
# What an operator does to the mean square of its operand, roughly, for roughly normal values.
_GROWTH = {
    "Relu": 0.5,
    "MaxPool": 3.0,
    "AveragePool": 0.5,
    "GlobalAveragePool": 0.4,
    "BatchNormalization": 1.2,  # with the parameters below, after division by the variance
    "Mul": 1.1,
}


def light(name: str, *, seed: int = 0, logits: bool = False) -> ModelProto:
    """One of the networks in :data:`LIGHT`, with random weights.

    Parameters
    ----------
    name : str
        E.g. ``"squeezenet"``.
    seed : int
        Seed of the weights; equal seeds give equal models.
    logits : bool
        Whether the operand of a final softmax becomes a second output: a softmax can saturate and so hide
        errors, its logits can't.

    Returns
    -------
    onnx.ModelProto
        Opset 9; one float32 input of shape [1, 3, 224, 224]; the output is that of the published network.

    Raises
    ------
    ValueError
        There is no network of that name.
    """
    if name not in LIGHT:
        raise ValueError(f"no light model is called {name!r}; there are {', '.join(LIGHT)}")
    model = onnx.load(str(_FILES / f"light_{name}.onnx"))
    model.ir_version = _IR_VERSION
    _randomise(model.graph, np.random.default_rng(seed))
    last = model.graph.node[-1]
    if logits and last.op_type == "Softmax":
        dims = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
        model.graph.output.append(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, dims))
    return model


def _randomise(graph: GraphProto, rng: np.random.Generator) -> None:
    """Replace every float weight of ``graph`` by random values, and drop what nothing uses.

    Weights of convolutions and matrix products are normal with variance 1 / (fan-in × mean square of the
    operand), which is He's initialisation where the operand comes from a ReLU (He et al., ICCV 2015). The mean
    square is estimated operator by operator, since a chain of residual blocks would otherwise double it each time.
    """
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes = {name: array.shape for name, array in stored.items() if array.dtype == np.float32}
    weights: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}  # a tensor that is a weight, or a view of one -> that weight
    square: dict[str, float] = {}  # estimated mean square of activations

    for node in graph.node:
        ins, out = list(node.input), node.output[0]
        if node.op_type == "ConstantOfShape":
            shapes[out] = tuple(int(d) for d in stored[ins[0]])
        elif node.op_type in _VIEWS and (ins[0] in shapes or ins[0] in origin):
            origin[out] = origin.get(ins[0], ins[0])
        else:
            params = [origin.get(i, i) for i in ins]
            data = [square.get(i, 1.0) for i, p in zip(ins, params, strict=True) if p not in shapes]
            for position, name in enumerate(params):
                if name in shapes and name not in weights:
                    weights[name] = _weight(rng, node.op_type, position, shapes[name], data[0])
            square[out] = _mean_square(node.op_type, data)

    _replace(graph, weights)


def _weight(rng: np.random.Generator, op: str, position: int, shape: tuple[int, ...], square: float) -> np.ndarray:
    """Random values for operand ``position`` of ``op``, whose first operand has the mean square ``square``."""

    def normal(std: float) -> np.ndarray:
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)  # in place: the largest is 411 MB
        return values

    def positive(mean: float) -> np.ndarray:
        return (rng.random(shape, dtype=np.float32) + np.float32(0.5)) * np.float32(mean)

    match op, position:
        case "Conv", 1:
            return normal((prod(shape[1:]) * square) ** -0.5)
        case "Gemm", 1:  # all of them have transB=1
            return normal((shape[-1] * square) ** -0.5)
        case "BatchNormalization", 3:  # running mean
            return normal(0.1 * square**0.5)
        case "BatchNormalization", 4:  # running variance
            return positive(square)
        case "BatchNormalization" | "Mul", 1:  # scale
            return positive(1.0)
        case _:  # biases
            return normal(0.1)


def _mean_square(op: str, data: list[float]) -> float:
    """Estimated mean square of the result of ``op``, given those of its operands that are activations."""
    if op == "Sum":  # residual: the ReLU that follows halves only the zero-mean operand
        return 1.5 * sum(data)
    unit = op in {"Conv", "Gemm", "BatchNormalization"}  # their weights undo the operand's scale
    return (1.0 if unit else sum(data) / len(data)) * _GROWTH.get(op, 1.0)


def _replace(graph: GraphProto, weights: dict[str, np.ndarray]) -> None:
    """Make ``weights`` the initializers of ``graph``, instead of inputs or ``ConstantOfShape`` nodes."""
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used and t.name not in weights]
    stored = weights.keys() | {t.name for t in kept}
    inputs = [i for i in graph.input if i.name in used - stored]
    for field, values in ((graph.node, nodes), (graph.initializer, kept), (graph.input, inputs)):
        del field[:]
        field.extend(values)
    for name, array in weights.items():
        graph.initializer.add(name=name, dims=array.shape, data_type=TensorProto.FLOAT, raw_data=array.tobytes())
