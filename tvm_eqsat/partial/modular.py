"""Arithmetic in the prime field on whole arrays of int64."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..errors import IllTyped
from ..verify.field import PRIME

Array = np.ndarray[Any, Any]

_MANTISSA = 53  # bits of a double


def random_field(seed: int, leaf: int, positions: Array) -> Array:
    """Field elements that are uniform and independent to any test: SplitMix64 of the position (Steele et al., 2014)."""
    z = _stream(seed, leaf) + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(PRIME)).astype(np.int64)


@cache
def _stream(seed: int, leaf: int) -> np.uint64:
    return np.uint64(np.random.SeedSequence([seed, leaf]).generate_state(1, np.uint64)[0])


def field_elements(values: Array) -> Array:
    """Numbers as field elements. A float is a fraction over a power of two, and powers of two repeat: 2**31 = 1.

    Raises
    ------
    IllTyped
        A value isn't finite.
    """
    if values.dtype.kind in "iub":
        return np.asarray(values.astype(np.int64) % PRIME)
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise IllTyped("a constant holds an infinity or a NaN, which has no counterpart in a finite field")
    mantissa, exponent = np.frexp(wide)
    whole = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
    return (whole % PRIME) * (np.int64(1) << ((exponent.astype(np.int64) - _MANTISSA) % 31)) % PRIME


def matmul_field(x: Array, y: Array) -> Array:
    """Matrix product in the field, by products of 16-bit halves that are exact in double precision (and use BLAS).

    Each product is below 2**32, so 2**21 of them may be summed.
    """
    most = 1 << 21
    if x.shape[-1] > most:
        pieces = [matmul_field(x[..., i : i + most], y[..., i : i + most, :]) for i in range(0, x.shape[-1], most)]
        return np.asarray(sum(pieces) % PRIME)
    (x1, x0), (y1, y0) = ([(a >> 16).astype(np.float64), (a & 0xFFFF).astype(np.float64)] for a in (x, y))
    high, middle, low = x1 @ y1, (x1 @ y0, x0 @ y1), x0 @ y0
    middles = (middle[0].astype(np.int64) + middle[1].astype(np.int64)) % PRIME
    # 2**32 = 2 in the field
    return np.asarray((2 * high.astype(np.int64) + (middles << 16) + low.astype(np.int64)) % PRIME)
