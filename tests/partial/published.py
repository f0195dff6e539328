"""The worked examples of PET (OSDI'21), and of the notes on its code, as pairs of a program and a mutant."""

from __future__ import annotations

from tests.graphs import apply, tensor
from tests.partial.pairs import Maker


def convolution(x, w, **attrs):
    maker = Maker()
    return maker.done(apply(maker.graph, "conv2d", tensor(maker.graph, *x), tensor(maker.graph, *w), **attrs))


def dilated(channels, filters, size=14):
    """A dilated convolution of CSRNet's back-end, and a dense one on even rows and columns before odd ones."""
    x, w = (1, channels, size, size), (filters, channels, 3, 3)
    maker = Maker()
    data, weight = tensor(maker.graph, *x), tensor(maker.graph, *w)
    half = size // 2
    data = maker.permute(maker.reshape(data, 1, channels, half, 2, half, 2), 0, 1, 3, 2, 5, 4)
    out = apply(maker.graph, "conv2d", maker.reshape(data, *x), weight, padding=(1,) * 4)
    out = maker.permute(maker.reshape(out, 1, filters, 2, half, 2, half), 0, 1, 3, 2, 5, 4)
    mutant = maker.done(maker.reshape(out, 1, filters, size, size))
    return convolution(x, w, padding=(2,) * 4, dilation=(2, 2)), mutant


def space_to_batch(channels, filters, size=14):
    """The same, with the four phases as a batch: fully equivalent."""
    x, w = (1, channels, size, size), (filters, channels, 3, 3)
    maker = Maker()
    data, weight = tensor(maker.graph, *x), tensor(maker.graph, *w)
    half = size // 2
    data = maker.permute(maker.reshape(data, 1, channels, half, 2, half, 2), 3, 5, 0, 1, 2, 4)
    out = apply(maker.graph, "conv2d", maker.reshape(data, 4, channels, half, half), weight, padding=(1,) * 4)
    out = maker.permute(maker.reshape(out, 2, 2, 1, filters, half, half), 2, 3, 4, 0, 5, 1)
    mutant = maker.done(maker.reshape(out, 1, filters, size, size))
    return convolution(x, w, padding=(2,) * 4, dilation=(2, 2)), mutant


def batch_into_width(batch, size, kernel, channels=4):
    """A convolution of a batch, and of its images side by side."""
    x, w, padding = (batch, channels, size, size), (channels, channels, kernel, kernel), (kernel // 2,) * 4
    maker = Maker()
    data, weight = tensor(maker.graph, *x), tensor(maker.graph, *w)
    data = maker.reshape(maker.permute(data, 1, 2, 0, 3), 1, channels, size, batch * size)
    out = apply(maker.graph, "conv2d", data, weight, padding=padding)
    out = maker.permute(maker.reshape(out, channels, size, batch, size), 2, 0, 1, 3)
    return convolution(x, w, padding=padding), maker.done(out)


def tiled(channels=48, filters=64, size=38, tile=10, kernel=5):
    """[1, 48, 38, 38] as a batch of 4 x 4 tiles, [16, 48, 10, 10]."""
    x, w, padding = (1, channels, size, size), (filters, channels, kernel, kernel), (kernel // 2,) * 4
    count = -(-size // tile)
    maker = Maker()
    data, weight = tensor(maker.graph, *x), tensor(maker.graph, *w)
    beyond = count * tile - size
    data = apply(maker.graph, "pad", data, pad_width=(0, 0, 0, 0, 0, beyond, 0, beyond))
    data = maker.permute(maker.reshape(data, 1, channels, count, tile, count, tile), 0, 2, 4, 1, 3, 5)
    data = maker.reshape(data, count * count, channels, tile, tile)
    out = apply(maker.graph, "conv2d", data, weight, padding=padding)
    out = maker.permute(maker.reshape(out, 1, count, count, filters, tile, tile), 0, 3, 1, 4, 2, 5)
    out = maker.reshape(out, 1, filters, count * tile, count * tile)
    out = maker.part(maker.part(out, 2, 0, size), 3, 0, size)
    return convolution(x, w, padding=padding), maker.done(out)
