"""Random pairs of small multilinear programs with outputs of one type, and their exact difference by brute force."""

from __future__ import annotations

from math import prod

import numpy as np

from tests.graphs import apply, tensor
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.verify.field import evaluate


def integers(graph, seed=0, bits=22):
    """Integer values of the inputs, so large that two different elements are hardly ever equal."""
    leaves = {}
    for i in graph.live():
        node = graph.nodes[i]
        if node.op == "input":
            rng = np.random.default_rng([seed, node.attrs[0]])
            leaves[node.attrs[0]] = rng.integers(-(1 << bits), 1 << bits, node.type.shape)
    return leaves


def outputs(*graphs, bits=22):
    """The outputs of programs with the same inputs, in exact integers."""
    leaves = {}
    for graph in graphs:
        leaves.update(integers(graph, bits=bits))
    return [evaluate(graph, leaves)[0] for graph in graphs]


def filled(found):
    """Boolean array of a difference's wrong boxes; raises where boxes overlap."""
    out = np.zeros([at[-1] for at in found.edges], int)
    for box in found.wrong:
        out[tuple(slice(*side) for side in box)] += 1
    assert out.max(initial=0) <= 1
    return out.astype(bool)


class Maker:
    """Builds one program; equal choices of ``rng`` build equal ones."""

    def __init__(self):
        self.graph = TensorGraph()

    def shape(self, x):
        return self.graph.nodes[x].type.shape

    def reshape(self, x, *shape):
        return apply(self.graph, "reshape", x, shape=tuple(int(d) for d in shape))

    def permute(self, x, *axes):
        return apply(self.graph, "permute_dims", x, axes=axes)

    def done(self, x):
        self.graph.outputs = [x]
        return self.graph

    def shuffled(self, x, seeds):
        """One step for each seed (a reshape, a permutation, a shift…), and back to the shape of ``x``."""
        shape = self.shape(x)
        for seed in seeds:
            x = self.step(x, np.random.default_rng(seed))
        return self.reshape(x, *shape)

    def step(self, x, rng):
        rank = len(self.shape(x))
        axis = int(rng.integers(rank))
        size = self.shape(x)[axis]
        kind = rng.integers(6)
        if kind == 0:
            return self.permute(x, *(int(i) for i in rng.permutation(rank)))
        if kind in (1, 2) and size > 1:  # shifted and filled with zeros, or rotated
            by = int(rng.integers(1, min(size, 3)))
            kept = self.part(x, axis, 0, size - by)
            width = tuple(by if i == 2 * axis else 0 for i in range(2 * rank))
            if kind == 1:
                return apply(self.graph, "pad", kept, pad_width=width)
            return apply(self.graph, "concat", self.part(x, axis, size - by, size), kept, axis=axis)
        if kind == 3 and size % 2 == 0:  # even positions, then odd ones
            halves = [self.part(x, axis, b, size - 1 + b, 2) for b in (0, 1)]
            return apply(self.graph, "concat", *halves, axis=axis)
        return self.reshape(x, *random_shape(rng, prod(self.shape(x))))

    def part(self, x, axis, begin, end, stride=1):
        return apply(self.graph, "slice", x, axis=axis, begin=begin, end=end, stride=stride)


def seeds_of(rng, most=3):
    return [int(s) for s in rng.integers(1 << 30, size=int(rng.integers(1, most + 1)))]


def varied(seeds, rng):
    """Most of the steps: one is taken out, added or replaced."""
    seeds, at = list(seeds), int(rng.integers(len(seeds)))
    seeds[at : at + int(rng.integers(2))] = seeds_of(rng, 1) if rng.integers(2) else []
    return seeds


def random_shape(rng, size):
    shape = []
    for _ in range(int(rng.integers(1, 4))):
        shape.append(int(rng.choice([d for d in range(1, size + 1) if size % d == 0])))
        size //= shape[-1]
    return (*shape, size)


def moved(rng):
    """Elements moved about and added up, in slightly different ways."""
    shape = tuple(int(d) for d in rng.choice([2, 3, 4, 6], 3))
    kind, same = ("add", "subtract", "")[int(rng.integers(3))], bool(rng.integers(2))
    left, right = seeds_of(rng), seeds_of(rng)
    programs = []
    for turn in range(2):
        maker = Maker()
        x, y = tensor(maker.graph, *shape), tensor(maker.graph, *shape)
        first = maker.shuffled(x, varied(left, rng) if turn else left)
        second = maker.shuffled(x if same else y, varied(right, rng) if turn and rng.integers(2) else right)
        programs.append(maker.done(apply(maker.graph, kind, first, second) if kind else first))
    return programs


def multiplied(rng):
    """Matrix products and elementwise products of operands that are moved about."""
    b, m, k, n = (int(d) for d in rng.choice([2, 3, 4], 4))
    steps = [seeds_of(rng, 2) for _ in range(3)]
    scaled, changed = bool(rng.integers(2)), int(rng.integers(3))
    programs = []
    for turn in range(2):
        maker = Maker()
        x, y, s = (tensor(maker.graph, *shape) for shape in ((b, m, k), (k, n), (m, 1)))
        mine = [varied(seeds, rng) if turn and i == changed else seeds for i, seeds in enumerate(steps)]
        out = apply(maker.graph, "matmul", maker.shuffled(x, mine[0]), maker.shuffled(y, mine[1]))
        out = apply(maker.graph, "multiply", out, s) if scaled else out
        programs.append(maker.done(maker.shuffled(out, mine[2])))
    return programs


EXCHANGES = ("N2W", "N2H", "W2H", "H2W", "H2H", "W2W", "H2N", "W2N", "pad", "dilate", "groups", "none")


def summed(rng):
    """Sums over axes of tensors that were stacked, stretched and scaled."""
    shape = tuple(int(d) for d in rng.choice([2, 3, 4], 3))
    steps, axes = [seeds_of(rng, 2) for _ in range(2)], tuple(sorted(int(i) for i in rng.choice(4, 2, replace=False)))
    keepdims, changed = bool(rng.integers(2)), int(rng.integers(2))
    programs = []
    for turn in range(2):
        maker = Maker()
        x, y, s = (tensor(maker.graph, *at) for at in (shape, shape[1:], (2, 1, 1, 1)))
        mine = [varied(seeds, rng) if turn and i == changed else seeds for i, seeds in enumerate(steps)]
        y = apply(maker.graph, "broadcast_to", y, shape=shape)
        out = apply(maker.graph, "stack", maker.shuffled(x, mine[0]), maker.shuffled(y, mine[1]), axis=0)
        ones = apply(maker.graph, "full", value=3.0, shape=(shape[2],), dtype="float64")
        out = apply(maker.graph, "multiply", apply(maker.graph, "multiply", out, ones), s)
        programs.append(maker.done(apply(maker.graph, "sum", out, axes=axes, keepdims=keepdims)))
    return programs


def transposed(rng):
    """A transposed convolution, and one with other attributes or data."""
    return convolved(rng, "conv2d_transpose")


def convolved(rng, op="conv2d"):
    """A convolution, and one on data whose dimensions exchange parts, or with other attributes."""
    while True:
        n, c, f = int(rng.choice([1, 2, 3])), int(rng.choice([1, 2])) * 2, int(rng.choice([2, 4]))
        h, w = (int(d) for d in rng.choice([4, 5, 6, 8], 2))
        kernel = tuple(int(d) for d in rng.choice([1, 2, 3], 2))
        dilation = tuple(int(d) for d in rng.choice([1, 1, 2], 2))
        strides = tuple(int(d) for d in rng.choice([1, 1, 2], 2))
        groups = int(rng.choice([1, 1, 2]))
        padding = tuple(int(d) for d in rng.integers(0, 3, 4))
        attrs = dict(strides=strides, dilation=dilation, padding=padding, groups=groups)
        if op == "conv2d" and rng.integers(2):
            attrs |= dict(data_layout="NHWC", kernel_layout="HWIO")
        programs = []
        try:
            for turn in range(2):
                maker = Maker()
                x = tensor(maker.graph, n, c, h, w)
                k = tensor(maker.graph, *((f, c // groups) if op == "conv2d" else (c, f // groups)), *kernel)
                programs.append(maker.done(_convolution(maker, op, x, k, attrs, rng if turn else None)))
        except IllTyped:
            continue
        if programs[0].nodes[programs[0].outputs[0]].type == programs[1].nodes[programs[1].outputs[0]].type:
            return programs


def _convolution(maker, op, x, k, attrs, rng):
    """A convolution in NCHW; with ``rng`` a mutant of it."""
    exchange = str(rng.choice(EXCHANGES)) if rng is not None else "none"
    attrs, back = dict(attrs), None
    n = maker.shape(x)[0]
    if exchange in ("pad", "dilate"):
        name = {"pad": "padding", "dilate": "dilation"}[exchange]
        attrs[name] = tuple(int(d) for d in rng.permutation(attrs[name]))
    elif exchange == "groups":
        k = maker.shuffled(k, seeds_of(rng, 1))
    elif exchange != "none":
        source, target = ("NCHW".index(letter) for letter in (exchange[0], exchange[2]))
        outer = n if source == 0 else 2
        x = _exchange(maker, x, source, target, maker.shape(x)[source] // 2 if source == target else outer)
        back = target, source, outer
    if "data_layout" in attrs:
        x, k = maker.permute(x, 0, 2, 3, 1), maker.permute(k, 2, 3, 1, 0)
    out = apply(maker.graph, op, x, k, **attrs)
    if "data_layout" in attrs:
        out = maker.permute(out, 0, 3, 1, 2)
    return out if back is None else _exchange(maker, out, *back)


def _exchange(maker, x, source, target, outer):
    """The outer part of one dimension becomes the outer part of another one, or (``source == target``) its inner."""
    shape = maker.shape(x)
    x = maker.reshape(x, *shape[:source], outer, shape[source] // outer, *shape[source + 1 :])
    rest = [i for i in range(5) if i != source]
    at = rest.index(target + (target >= source))
    x = maker.permute(x, *rest[: at + (source == target)], source, *rest[at + (source == target) :])
    shape = maker.shape(x)
    return maker.reshape(x, *shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])


FAMILIES = (moved, multiplied, summed, convolved, transposed)
