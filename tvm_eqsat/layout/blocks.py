"""Channels in blocks: which block, and the maps to such layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .index_map import IndexMap


def block_of(channels: int, lanes: int, *, pad: bool = True) -> int:
    """How many channels stand together.

    Two vector registers, one, or half of one, whichever divides the channels first. Fewer channels than a register has
    lanes are one block; any other odd number is padded to whole registers.

    Parameters
    ----------
    channels : int
        Number of channels.
    lanes : int
        Elements of a vector register.
    pad : bool
        Whether the last block may be padded; otherwise channels that don't divide are all one block.
    """
    for block in (2 * lanes, lanes, lanes // 2):
        if block > 1 and channels % block == 0:
            return block
    return lanes if pad and channels > lanes else channels


@lru_cache(maxsize=4096)
def blocked(shape: Sequence[int], axis: int, block: int) -> IndexMap:
    """One axis in blocks, with the places within a block as the last axis, padded with zeros: NCHW to NCHW{b}c."""
    split = IndexMap.split(shape, axis, block)
    order = [k for k in range(len(split.shape)) if k != axis + 1]
    return _both(split, IndexMap.reorder(split.shape, [*order, axis + 1]))


@lru_cache(maxsize=4096)
def blocked_weight(shape: Sequence[int], inputs: int, filters: int) -> IndexMap:
    """OIHW to OIHW{i}i{o}o."""
    inner = blocked(shape, 1, inputs)
    return _both(inner, blocked(inner.shape, 0, filters))


@lru_cache(maxsize=4096)
def blocked_depthwise_weight(shape: Sequence[int], block: int) -> IndexMap:
    """OIHW with one input channel to OHW{o}o."""
    flat = IndexMap.fuse(shape, 0, 2)
    return _both(flat, blocked(flat.shape, 0, block))


def _both(first: IndexMap, second: IndexMap) -> IndexMap:
    found = first.then(second)
    assert found is not None, "blocks are made of whole digits"
    return found
