"""Random legal operand types and values for every operator of the table."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.types import TensorType

Rng = np.random.Generator


def _pick(rng: Rng, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _shape(rng: Rng, low: int = 0, high: int = 4, largest: int = 5) -> tuple[int, ...]:
    return tuple(int(d) for d in rng.integers(1, largest + 1, rng.integers(low, high + 1)))


def _one(dtypes: Sequence[str], low: int = 0, high: int = 4) -> Callable[[Rng], list[TensorType]]:
    return lambda rng: [TensorType(_shape(rng, low, high), _pick(rng, dtypes))]


def _broadcastable(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to ``shape``: leading dimensions dropped, some of the others 1."""
    kept = shape[int(rng.integers(0, len(shape) + 1)) if rng.integers(2) else 0 :]
    return tuple(1 if rng.integers(3) == 0 else d for d in kept)


def _two(dtypes: Sequence[str]) -> Callable[[Rng], list[TensorType]]:
    def draw(rng: Rng) -> list[TensorType]:
        shape, dtype = _shape(rng), _pick(rng, dtypes)
        shapes = [shape, _broadcastable(rng, shape)]
        return [TensorType(s, dtype) for s in (shapes if rng.integers(2) else shapes[::-1])]

    return draw


def _where(rng: Rng) -> list[TensorType]:
    shape, dtype = _shape(rng), _pick(rng, ("float32", "int32"))
    return [TensorType(_broadcastable(rng, shape), d) for d in ("bool", dtype, dtype)]


def _matmul(rng: Rng) -> list[TensorType]:
    dtype = _pick(rng, ("float32", "float32", "float64", "float16", "int32", "int8"))
    batch, (m, k, n) = _shape(rng, 0, 2, 3), (int(d) for d in rng.integers(1, 6, 3))
    left, right = (_broadcastable(rng, batch) for _ in range(2))
    shapes = [(*left, m, k), (*right, k, n)]
    if rng.integers(4) == 0:
        shapes[int(rng.integers(2))] = (k,)
    return [TensorType(s, dtype) for s in shapes]


def _conv(n: int) -> Callable[[Rng], list[TensorType]]:
    def draw(rng: Rng) -> list[TensorType]:
        dtype = _pick(rng, ("float32", "float32", "float16", "int8", "int32"))
        groups, c, o = (int(_pick(rng, (1, 1, 2, 3))) for _ in range(3))
        letters = "DHW"[3 - n :]
        size = dict(zip("NC" + letters, [int(rng.integers(1, 3)), groups * c, *rng.integers(5, 8, n)], strict=True))
        kernel = dict(zip("OI" + letters, [groups * o, c, *rng.integers(1, 4, n)], strict=True))
        data, weight = _pick(
            rng,
            ((f"NC{letters}", f"OI{letters}"), (f"N{letters}C", f"{letters}IO"), (f"N{letters}C", f"O{letters}I")),
        )
        shapes = [tuple(int(size[i]) for i in data), tuple(int(kernel[i]) for i in weight)]
        return [TensorType(s, dtype) for s in shapes]

    return draw


def _conv_transpose(n: int) -> Callable[[Rng], list[TensorType]]:
    def draw(rng: Rng) -> list[TensorType]:
        channels = int(_pick(rng, (1, 2, 4)))
        data = (int(rng.integers(1, 3)), channels, *(int(d) for d in rng.integers(2, 5, n)))
        weight = (channels, int(rng.integers(1, 4)), *(int(d) for d in rng.integers(1, 4, n)))
        dtype = _pick(rng, ("float32", "float32", "float16"))
        return [TensorType(s, dtype) for s in (data, weight)]

    return draw


def _image(n: int, dtypes: Sequence[str] = ("float32", "float64")) -> Callable[[Rng], list[TensorType]]:
    return lambda rng: [TensorType(tuple(int(d) for d in rng.integers(3, 8, n + 2)), _pick(rng, dtypes))]


def _batch_norm(rng: Rng) -> list[TensorType]:
    shape = _shape(rng, 1, 4)
    channels = (_pick(rng, shape),)
    return [TensorType(shape, "float32")] + [TensorType(channels, "float32")] * 4


def _last_axes_norm(parameters: int, low: int) -> Callable[[Rng], list[TensorType]]:
    def draw(rng: Rng) -> list[TensorType]:
        shape = _shape(rng, low, 4)
        tail = shape[-int(rng.integers(1, len(shape) + (low == 1))) :]
        return [TensorType(shape, "float32")] + [TensorType(tail, "float32")] * parameters

    return draw


def _channel_norm(rng: Rng) -> list[TensorType]:
    shape = (int(rng.integers(1, 3)), int(_pick(rng, (2, 4, 6))), *_shape(rng, 1, 2))
    return [TensorType(shape, "float32")] + [TensorType(shape[1:2], "float32")] * 2


def _concat(rng: Rng) -> list[TensorType]:
    shape, dtype = _shape(rng, 1, 4), _pick(rng, ("float32", "int64"))
    axis = int(rng.integers(len(shape)))
    lengths = rng.integers(1, 4, rng.integers(1, 4))
    return [TensorType((*shape[:axis], int(n), *shape[axis + 1 :]), dtype) for n in lengths]


def _stack(rng: Rng) -> list[TensorType]:
    return [TensorType(_shape(rng, 0, 3), _pick(rng, ("float32", "int64")))] * int(rng.integers(1, 4))


def _take(rng: Rng) -> list[TensorType]:
    return [TensorType(_shape(rng, 1, 3), "float32"), TensorType(_shape(rng, 0, 2), _pick(rng, ("int32", "int64")))]


def _gather_elements(rng: Rng) -> list[TensorType]:
    shape = _shape(rng, 1, 3)
    return [TensorType(shape, "float32"), TensorType(tuple(int(rng.integers(1, d + 1)) for d in shape), "int64")]


def _gather_nd(rng: Rng) -> list[TensorType]:
    shape = _shape(rng, 1, 4)
    batch = int(rng.integers(0, len(shape)))
    index = (*shape[:batch], *_shape(rng, 0, 2), int(rng.integers(1, len(shape) - batch + 1)))
    return [TensorType(shape, "float32"), TensorType(index, "int64")]


def _winograd_weight(rng: Rng) -> list[TensorType]:
    return [TensorType((3, 3, *(int(d) for d in rng.integers(1, 14, 2))), _pick(rng, _FLOATS))]


def _winograd_output(rng: Rng) -> list[TensorType]:
    return [TensorType((_pick(rng, (16, 36)), *(int(d) for d in rng.integers(1, 14, 2))), _pick(rng, _FLOATS))]


def _blocked_conv(rng: Rng) -> list[TensorType]:
    groups, blocks, filters, i, o = (int(_pick(rng, (1, 1, 2, 3))) for _ in range(5))
    data = (int(rng.integers(1, 3)), groups * blocks, *(int(d) for d in rng.integers(5, 8, 2)), i)
    weight = (groups * filters, blocks, *(int(d) for d in rng.integers(1, 4, 2)), i, o)
    dtype = _pick(rng, ("float32", "float32", "float16", "int32"))
    return [TensorType(data, dtype), TensorType(weight, dtype)]


def _blocked_depthwise_conv(rng: Rng) -> list[TensorType]:
    data, weight = _blocked_conv(rng)
    blocks, last = data.shape[1:2], data.shape[4]
    if rng.integers(2):  # no blocks: channels last
        data, blocks = TensorType((*data.shape[:1], *data.shape[2:]), data.dtype), ()
    return [data, TensorType((*blocks, *weight.shape[2:4], last), data.dtype)]


def _panels(rng: Rng) -> list[TensorType]:
    rows, k, panels, columns = (int(d) for d in rng.integers(1, 6, 4))
    dtype = _pick(rng, ("float32", "float32", "float16", "int32"))
    return [TensorType((rows, k), dtype), TensorType((panels, k, columns), dtype)]


_FLOATS = ("float32", "float32", "float64")
_NUMBERS = ("float32", "int32", "int64", "float64")
_ANY = ("float32", "int32", "bool", "int8")

_FLOAT_UNARY = (
    "exp log sqrt rsqrt sigmoid tanh erf sin cos tan sinh cosh asin acos atan asinh acosh atanh floor ceil round trunc "
    "isnan isinf isfinite gelu gelu_tanh selu silu leaky_relu softplus"
).split()
_GENERATORS: dict[str, Callable[[Rng], list[TensorType]]] = {
    **{name: _one(_FLOATS) for name in _FLOAT_UNARY},
    **{name: _one(_NUMBERS) for name in ("abs", "negative", "sign", "square", "relu", "clip")},
    "logical_not": _one(("bool",)),
    "bitwise_not": _one(("int32", "uint8")),
    "cast": _one(_ANY),
    **{name: _two(_NUMBERS) for name in "add subtract multiply divide maximum minimum".split()},
    **{name: _two(_NUMBERS) for name in ("floor_divide", "mod", "floor_mod")},
    "power": _two(_FLOATS),
    **{name: _two(_NUMBERS) for name in "equal not_equal less less_equal greater greater_equal".split()},
    **{name: _two(("bool",)) for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: _two(("int32", "uint8")) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    "where": _where,
    "matmul": _matmul,
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": _conv_transpose(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d": _image(n, ("float32", "int32")) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _image(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _image(n) for n in (1, 2, 3)},
    "resize2d": _image(2),
    "batch_norm": _batch_norm,
    "layer_norm": _last_axes_norm(2, 1),
    "rms_norm": _last_axes_norm(1, 2),
    "group_norm": _channel_norm,
    "instance_norm": _channel_norm,
    "softmax": _one(_FLOATS, 1),
    "log_softmax": _one(_FLOATS, 1),
    "pad": _one(_NUMBERS, 1),
    "concat": _concat,
    "stack": _stack,
    "slice": _one(_ANY, 1),
    "reshape": _one(_ANY),
    "permute_dims": _one(_ANY, 1),
    "broadcast_to": _one(_ANY, 0, 3),
    **{name: _one(_NUMBERS, 1) for name in ("sum", "max", "min", "prod")},
    **{name: _one(_FLOATS, 1) for name in ("mean", "variance", "std")},
    "take": _take,
    "gather_elements": _gather_elements,
    "gather_nd": _gather_nd,
    "full": lambda rng: [],
    "layout_transform": _one(_ANY, 1),
    "conv2d_nchwc": _blocked_conv,
    "depthwise_conv2d": _blocked_depthwise_conv,
    "matmul_panels": _panels,
    "shifted_sum": lambda rng: [TensorType((*_shape(rng, 3, 3, 7), *_shape(rng, 3, 3, 3)), _pick(rng, _NUMBERS))],
    "winograd_weight": _winograd_weight,
    "winograd_input": lambda rng: [TensorType((*_shape(rng, 3, 3, 9), _pick(rng, (3, 4, 5))), _pick(rng, _FLOATS))],
    "winograd_output": _winograd_output,
}


# Every operator but the leaves: one that is missing above fails its tests.
NAMES = [name for name in OPERATORS if name not in ("input", "constant", "opaque")]


def operand_types(name: str, rng: Rng) -> list[TensorType]:
    """Types that the operator applies to, for its ``sample`` to draw attributes for."""
    return _GENERATORS[name](rng)


# Operators that are only defined, or only smooth, on part of the numbers.
_RANGES = {
    **dict.fromkeys(("log", "sqrt", "rsqrt", "power"), (0.1, 4.0)),
    **dict.fromkeys(("asin", "acos", "atanh"), (-0.95, 0.95)),
    "tan": (-1.4, 1.4),
    "acosh": (1.05, 4.0),
    **dict.fromkeys(("floor", "ceil", "trunc", "round"), (-20.0, 20.0)),
}


def operand_arrays(name: str, types: Sequence[TensorType], attrs: Any, rng: Rng) -> list[np.ndarray[Any, Any]]:
    """Random values of these types within the operator's domain: indices in bounds, divisors not zero."""
    if name == "gather_nd":
        x, index = types
        bounds = [x.shape[attrs.batch_dims + i] for i in range(index.shape[-1])]
        return [_array(x, rng), rng.integers(0, bounds, index.shape)]
    arrays = [_array(t, rng, *_RANGES.get(name, (-2.0, 2.0))) for t in types]
    if name in ("take", "gather_elements"):
        bound = types[0].shape[attrs.axis]
        low, high = (-bound, 2 * bound) if getattr(attrs, "mode", "") in ("wrap", "clip") else (0, bound)
        arrays[1] = rng.integers(low, high, types[1].shape).astype(types[1].dtype)
    elif name in ("divide", "floor_divide", "mod", "floor_mod"):
        arrays[1] = np.where(np.abs(arrays[1]) < 0.5, 1, arrays[1]).astype(types[1].dtype)
    elif name == "batch_norm":
        arrays[4] = np.abs(arrays[4]) + np.float32(0.5)
    elif name in ("isnan", "isinf", "isfinite") and arrays[0].size:
        arrays[0].reshape(-1)[:3] = [np.nan, np.inf, -np.inf][: arrays[0].size]
    elif name in ("trunc", "round", "floor", "ceil") and arrays[0].size:
        arrays[0].reshape(-1)[:4] = [-2.5, 2.5, -1.5, 0.5][: arrays[0].size]
    return arrays


def _array(t: TensorType, rng: Rng, low: float = -2.0, high: float = 2.0) -> np.ndarray[Any, Any]:
    if t.dtype == "bool":
        return rng.integers(0, 2, t.shape).astype(bool)
    if t.dtype.startswith("uint"):
        return rng.integers(0, 100, t.shape).astype(t.dtype)
    if t.dtype.startswith("int"):
        return rng.integers(-7, 8, t.shape).astype(t.dtype)
    return rng.uniform(low, high, t.shape).astype(t.dtype)


@cache
def cases(name: str, count: int = 12) -> list[tuple[list[TensorType], Any]]:
    """Operand types and attributes of random legal uses of an operator, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    sample = OPERATORS[name].sample
    assert sample is not None or not OPERATORS[name].schema
    drawn = [operand_types(name, rng) for _ in range(count)]
    return [(types, sample(rng, types) if sample else OPERATORS[name].make_attrs()) for types in drawn]


def values(name: str, number: int) -> list[np.ndarray[Any, Any]]:
    """Operands for one of the :func:`cases`."""
    types, attrs = cases(name)[number]
    return operand_arrays(name, types, attrs, np.random.default_rng(number))
