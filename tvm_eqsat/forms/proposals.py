"""Which forms an operator may have: ALT's template, with the sizes that vector registers suggest."""

from __future__ import annotations

from itertools import product
from math import prod

from .form import Form
from .site import Site

_TAPS = 9  # products of more taps are too large to be stored


def proposals(site: Site, lanes: int) -> list[Form]:
    """The forms that are possible, the simplest first.

    Parameters
    ----------
    site : Site
        The operator.
    lanes : int
        Elements of a vector register of the target.
    """
    return _of_conv2d(site, lanes) if site.op == "conv2d" else _of_matmul(site, lanes)


def _blocks(channels: int, lanes: int) -> list[int]:
    """Half a register to four of them, of which the channels are a multiple; few channels are one block."""
    if channels <= lanes // 2:
        return [channels]
    return [size for size in (lanes // 2, lanes, 2 * lanes, 4 * lanes) if channels % size == 0]


def _of_conv2d(site: Site, lanes: int) -> list[Form]:
    found = [Form("im2col")]
    if 1 < prod(site.kernel) <= _TAPS and max(site.attrs.strides) == 1:
        found.append(Form("shifted"))
    inner, outer = _blocks(site.channels, lanes), _blocks(site.filters, lanes)
    found += [Form("blocked", sizes) for sizes in product(inner, outer)]
    if prod(site.kernel) > 1:
        down, across = (_tiles(size) for size in site.image)
        found += [Form("tiled", (h, w)) for h, w in product(down, across) if (h, w) != site.image]
    return found


def _tiles(size: int) -> list[int]:
    """Lengths of tiles: the whole, and a half or a quarter of it."""
    return [-(-size // parts) for parts in (1, 2, 4) if parts == 1 or size >= 4 * parts]


def _of_matmul(site: Site, lanes: int) -> list[Form]:
    found = [Form("panels", (size,)) for size in _blocks(site.filters, lanes) if size >= lanes]
    if prod(site.image) == 1:
        found.append(Form("transposed"))
    if len(site.data.shape) > 2:
        found.append(Form("folded"))
    return found
