"""Random attributes for the generated tests of these rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dsl import op


def conv_attrs(**changes: Any) -> Any:
    """Attributes of a plain 3×3 convolution."""
    return op.conv2d.record.make_attrs(**{"padding": (1, 0, 1, 1), **changes})


def zero_padding(rng: np.random.Generator, x: Any) -> Any:
    """Attributes of a pad with zeros."""
    return op.pad.record.make_attrs(pad_width=zero_widths(rng, x))


def zero_widths(rng: np.random.Generator, x: Any) -> tuple[int, ...]:
    """How many zeros to put before and after each axis."""
    return tuple(int(n) for n in rng.integers(0, 3, 2 * len(x.shape)))
