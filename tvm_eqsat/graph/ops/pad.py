"""Padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import REQUIRED, Attrs, Fusion, Operator, Types, no_flops, register
from ..types import TensorType
from . import _relax
from ._arrays import Array
from ._shapes import NUMBER, check_dtype

# Relax's name for a mode, and NumPy's.
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _infer(types: Types, a: Any) -> TensorType:
    x, width = types[0], a.pad_width
    check_dtype("pad", x.dtype, NUMBER)
    if len(width) != 2 * len(x.shape) or a.mode not in _MODES or min(width, default=0) < 0:
        raise IllTyped(f"pad of {x} by {width} in mode {a.mode!r}")
    out = list(x.shape)
    for i, dim in enumerate(x.shape):
        before, after = width[2 * i], width[2 * i + 1]
        if before == after == 0:
            continue
        if a.mode in ("reflect", "circular") and max(before, after) > dim - (a.mode == "reflect"):
            raise IllTyped(f"pad: axis {i} of {x} is too short for {before}, {after} in mode {a.mode!r}")
        out[i] = dim + before + after
    return TensorType(tuple(out), x.dtype)


def _numpy(arrays: Sequence[Array], a: Any) -> Array:
    x = arrays[0]
    if not x.ndim:
        return x
    value = int(a.value) if x.dtype.kind in "iuO" and a.value == int(a.value) else a.value
    options: Any = {"constant_values": value} if a.mode == "constant" else {"mode": _MODES[a.mode]}
    return np.pad(x, list(zip(a.pad_width[::2], a.pad_width[1::2], strict=True)), **options)


def _read(call: Any) -> tuple[list[Any], Attrs] | None:
    args, attrs = _relax.operands(call, 1), call.attrs
    # Any other mode's name is lowered as "constant".
    if args is None or attrs is None or attrs.pad_mode not in _MODES:
        return None
    mode = str(attrs.pad_mode)
    value = float(attrs.pad_value) if mode == "constant" else 0.0
    return args, PAD.make_attrs(pad_width=tuple(attrs.pad_width), mode=mode, value=value)


def _sample(rng: np.random.Generator, types: Types) -> Attrs:
    mode = str(rng.choice(list(_MODES)))
    room = [int(d) - 1 for d in types[0].shape for _ in range(2)]
    width = tuple(int(rng.integers(0, min(r, 2) + 1)) for r in room)
    value = float(rng.choice([0.0, 2.0])) if mode == "constant" else 0.0
    return PAD.make_attrs(pad_width=width, mode=mode, value=value)


PAD: Operator = register(
    Operator(
        name="pad",
        relax="relax.nn.pad",
        arity=1,
        # pad_width: before and after the first axis, before and after the second, …
        schema={"pad_width": REQUIRED, "mode": "constant", "value": 0.0},
        infer=_infer,
        numpy=_numpy,
        emit=lambda exprs, a: relax.op.nn.pad(exprs[0], list(a.pad_width), a.mode, a.value),
        read=_read,
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        linear_if=lambda a: not a.value,
        sample=_sample,
    )
)
