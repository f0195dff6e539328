"""The operator table: importing this package registers every operator, one file per family."""

from __future__ import annotations

from ..operator import BY_RELAX_NAME, OPERATORS
from . import (
    binary,
    conv,
    conv_transpose,
    create,
    elementwise,
    image,
    index,
    layout,
    leaves,
    linear,
    norm,
    pad,
    panels,
    pool,
    reduce,
    shape,
    shifted,
    softmax,
    winograd,
)
from .aliases import READERS, read_alias

__all__ = [
    "BY_RELAX_NAME",
    "OPERATORS",
    "READERS",
    "binary",
    "conv",
    "conv_transpose",
    "create",
    "elementwise",
    "image",
    "index",
    "layout",
    "leaves",
    "linear",
    "norm",
    "pad",
    "panels",
    "pool",
    "read_alias",
    "reduce",
    "shape",
    "shifted",
    "softmax",
    "winograd",
]
