"""Unary elementwise operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special
from tvm import relax, tirx

from ...errors import IllTyped
from ..operator import OPERATORS, REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, in_float32, numpy_dtype
from ._shapes import ANY, BITS, BOOL, FLOAT, NUMBER, SIGNED, check_dtype, dtype_word

op = relax.op


def _register(
    name: str,
    emit: Callable[..., Any],
    numpy: Callable[..., Any],
    domain: frozenset[str] = FLOAT,
    *,
    relax: str = "",
    out_dtype: str = "",
    flops: int = 1,
    linear: bool = False,
    schema: dict[str, Any] | None = None,
    read_attrs: Callable[[Any], dict[str, Any]] | None = None,
    sample: Callable[[np.random.Generator], dict[str, Any]] | None = None,
) -> Operator:
    """Register a unary operator whose Relax attributes are its own (``numpy`` and ``emit`` take them in order)."""

    def infer(types: Types, attrs: Any) -> TensorType:
        x = types[0]
        check_dtype(name, x.dtype, domain)
        return TensorType(x.shape, out_dtype) if out_dtype else x

    def meaning(arrays: Sequence[Array], a: Any) -> Array:
        dtype = numpy_dtype(out_dtype) if out_dtype else arrays[0].dtype
        return np.asarray(numpy(arrays[0], *a)).astype(dtype, copy=False)

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args = _relax.operands(call, 1)
        if args is None or (read_attrs is not None and call.attrs is None):
            return None
        return args, OPERATORS[name].make_attrs(**(read_attrs(call.attrs) if read_attrs else {}))

    def draw(rng: np.random.Generator, types: Types) -> Attrs:
        return OPERATORS[name].make_attrs(**(sample(rng) if sample else {}))

    return register(
        Operator(
            name=name,
            relax=relax or f"relax.{name}",
            arity=1,
            schema=schema or {},
            infer=infer,
            numpy=meaning,
            emit=lambda exprs, a: emit(exprs[0], *a),
            read=read,
            flops=lambda ins, out, a: float(flops * out.numel()),
            fusion=Fusion.ELEMWISE,
            linear_in=(0,) if linear else (),
            jointly_linear=linear,
            sample=draw,
        )
    )


def _rsqrt(x: Array) -> Array:
    return np.asarray(1 / np.sqrt(x))


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * x * (1 + 0.044715 * x * x))))


def _selu(x: Array) -> Array:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return np.asarray(scale * (np.maximum(x, 0) + np.minimum(0, alpha * (np.exp(x) - 1))))


def _softplus(x: Array, beta: float, threshold: float) -> Array:
    scaled = beta * x
    return np.where(scaled > threshold, x, np.log1p(np.exp(np.minimum(scaled, threshold))) / beta)


ABS = _register("abs", op.abs, np.abs, SIGNED)
NEGATIVE = _register("negative", op.negative, np.negative, SIGNED, linear=True)
SIGN = _register("sign", op.sign, np.sign, SIGNED, flops=2)
SQUARE = _register("square", op.square, np.square, NUMBER)
EXP = _register("exp", op.exp, np.exp)
LOG = _register("log", op.log, np.log)
SQRT = _register("sqrt", op.sqrt, np.sqrt)
RSQRT = _register("rsqrt", op.rsqrt, _rsqrt, flops=2)
SIGMOID = _register("sigmoid", op.sigmoid, in_float32(special.expit), flops=3)
TANH = _register("tanh", op.tanh, np.tanh)
ERF = _register("erf", op.erf, in_float32(special.erf))
SIN = _register("sin", op.sin, np.sin)
COS = _register("cos", op.cos, np.cos)
TAN = _register("tan", op.tan, np.tan)
SINH = _register("sinh", op.sinh, np.sinh)
COSH = _register("cosh", op.cosh, np.cosh)
ASIN = _register("asin", op.asin, np.arcsin)
ACOS = _register("acos", op.acos, np.arccos)
ATAN = _register("atan", op.atan, np.arctan)
ASINH = _register("asinh", op.asinh, np.arcsinh)
ACOSH = _register("acosh", op.acosh, np.arccosh)
ATANH = _register("atanh", op.atanh, np.arctanh)
FLOOR = _register("floor", op.floor, np.floor)
CEIL = _register("ceil", op.ceil, np.ceil)
ROUND = _register("round", op.round, np.round)
TRUNC = _register("trunc", op.trunc, np.trunc)
LOGICAL_NOT = _register("logical_not", op.logical_not, np.logical_not, BOOL)
BITWISE_NOT = _register("bitwise_not", op.bitwise_not, np.bitwise_not, BITS)
ISNAN = _register("isnan", op.isnan, np.isnan, out_dtype="bool")
ISINF = _register("isinf", op.isinf, np.isinf, out_dtype="bool")
ISFINITE = _register("isfinite", op.isfinite, np.isfinite, out_dtype="bool")

RELU = _register("relu", op.nn.relu, lambda x: np.maximum(x, 0), NUMBER, relax="relax.nn.relu")
GELU = _register(
    "gelu",
    op.nn.gelu,
    in_float32(lambda x: 0.5 * x * (1 + special.erf(x * 0.5**0.5))),
    relax="relax.nn.gelu",
    flops=5,
)
GELU_TANH = _register("gelu_tanh", op.nn.gelu_tanh, in_float32(_gelu_tanh), relax="relax.nn.gelu_tanh", flops=8)
SELU = _register("selu", op.nn.selu, in_float32(_selu), relax="relax.nn.selu", flops=7)
SILU = _register("silu", op.nn.silu, in_float32(lambda x: x * special.expit(x)), relax="relax.nn.silu", flops=4)
LEAKY_RELU = _register(
    "leaky_relu",
    op.nn.leakyrelu,
    lambda x, alpha: np.where(x > 0, x, x * alpha),
    relax="relax.nn.leakyrelu",
    flops=2,
    schema={"alpha": 0.01},
    read_attrs=lambda attrs: {"alpha": float(attrs.alpha)},
    sample=lambda rng: {"alpha": float(rng.choice([0.01, 0.1, 0.25]))},
)
SOFTPLUS = _register(
    "softplus",
    op.nn.softplus,
    in_float32(_softplus),
    relax="relax.nn.softplus",
    flops=5,
    schema={"beta": 1.0, "threshold": 20.0},
    read_attrs=lambda attrs: {"beta": float(attrs.beta), "threshold": float(attrs.threshold)},
    sample=lambda rng: {"beta": float(rng.choice([1.0, 2.0])), "threshold": float(rng.choice([1.0, 20.0]))},
)


# ** clip: the bounds are arguments of the call, and numbers of the operand's kind


def _bound(value: float, dtype: str) -> float | int:
    return float(value) if dtype_word(dtype) in FLOAT else int(value)


def _infer_clip(types: Types, a: Any) -> TensorType:
    x = types[0]
    check_dtype("clip", x.dtype, NUMBER)
    if not a.min <= a.max:
        raise IllTyped(f"clip: the lower bound {a.min} is above the upper bound {a.max}")
    return x


def _read_clip(call: Any) -> tuple[list[Any], Attrs] | None:
    if len(call.args) != 3 or not _relax.may_be_tensor(call.args[0]):
        return None
    dtype = _relax.dtype(call.args[0])
    low, high = map(_relax.scalar, call.args[1:])
    if dtype is None or low is None or high is None:
        return None
    return [call.args[0]], CLIP.make_attrs(min=_bound(low, dtype), max=_bound(high, dtype))


def _sample_clip(rng: np.random.Generator, types: Types) -> Attrs:
    low, high = sorted(_bound(float(v), types[0].dtype) for v in rng.integers(0, 7, 2))
    return CLIP.make_attrs(min=low, max=high)


CLIP: Operator = register(
    Operator(
        name="clip",
        relax="relax.clip",
        arity=1,
        schema={"min": REQUIRED, "max": REQUIRED},
        infer=_infer_clip,
        numpy=lambda arrays, a: np.clip(arrays[0], a.min, a.max).astype(arrays[0].dtype, copy=False),
        emit=lambda exprs, a: op.clip(exprs[0], _immediate(a.min), _immediate(a.max)),
        read=_read_clip,
        flops=lambda ins, out, a: 2.0 * out.numel(),
        fusion=Fusion.ELEMWISE,
        sample=_sample_clip,
    )
)


def _immediate(value: float | int) -> Any:
    # float64 keeps the bound exact; the kernel casts it to the operand's dtype.
    return tirx.FloatImm("float64", value) if isinstance(value, float) else tirx.IntImm("int64", value)


# ** cast


def _infer_cast(types: Types, a: Any) -> TensorType:
    check_dtype("cast", types[0].dtype, ANY)
    check_dtype("cast", a.dtype, ANY)
    return TensorType(types[0].shape, a.dtype)


def _read_cast(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, 1)
    if args is None or call.attrs is None:
        return None
    return args, CAST.make_attrs(dtype=_relax.dtype_name(call.attrs.dtype))


def _sample_cast(rng: np.random.Generator, types: Types) -> Attrs:
    return CAST.make_attrs(dtype=str(rng.choice(["float32", "float64", "float16", "int32", "int64", "bool"])))


CAST: Operator = register(
    Operator(
        name="cast",
        relax="relax.astype",
        arity=1,
        schema={"dtype": REQUIRED},
        infer=_infer_cast,
        numpy=lambda arrays, a: arrays[0].astype(numpy_dtype(a.dtype)),
        emit=lambda exprs, a: op.astype(exprs[0], a.dtype),
        read=_read_cast,
        fusion=Fusion.ELEMWISE,
        sample=_sample_cast,
    )
)
