"""Exchanges: digits of the batch, of rows and of columns change places around a convolution.

An axis of ``f * t`` elements has two digits: which of ``f`` blocks (or, interleaved, which of ``f`` phases), and where
inside. An :class:`Exchange` moves such digits of the data to other axes with one reshape, permutation and reshape,
convolves with the same weight, and moves the digits of the result back. An output then sees the right data wherever its
window meets no seam between pieces that came together; elsewhere it is wrong. So are all the published ones made: the
batch merged into the width, the tiles of PET (OSDI 2021), phases of a dilated convolution as a batch (space-to-batch).

The result must be put back by the same moves: where a mutant is right for every weight, its centre tap alone reads what
the original's reads, so that moving there and back is the identity. This is why exchanges come in inverse pairs, and
why the search has nothing to choose on the way back.

With a *halo* an exchange is exact: zeros go between pieces that come together, and tiles that part take along what
their windows reach beyond them.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType
from .draft import Draft, inputs_of, static_shape

_TILES = 16  # most tiles that overlap, each is cut out by itself
_OVERLAP = 2.0  # of a tile's length and the distance to the next, at most
AXES = {"N": 0, "C": 1, "H": 2, "W": 3}


class Move(NamedTuple):
    """One digit that changes its axis.

    Attributes
    ----------
    source : str
        The axis that it leaves: N, H or W.
    factor : int
        How many values it has.
    phase : bool
        Whether it is the inner digit (index modulo ``factor``) rather than the outer one (block).
    target : str
        The axis that it joins.
    major : bool
        Whether it becomes the outer digit there.
    """

    source: str
    factor: int
    phase: bool
    target: str
    major: bool


class Exchange(NamedTuple):
    """Moves of digits, and the convolution between them; padding behind the data follows from the shapes.

    Attributes
    ----------
    moves : tuple of Move
        Each axis is the source of one at most.
    dilation : tuple of int
        Of the convolution, for rows and columns.
    before : tuple of int
        Its padding before rows and columns.
    halo : bool
        Whether pieces are kept apart by zeros, and tiles overlap.
    """

    moves: tuple[Move, ...]
    dilation: tuple[int, int]
    before: tuple[int, int]
    halo: bool = False

    def name(self) -> str:
        """What a report calls it: ``h/4-n`` are four blocks of rows as a batch, ``h%2-n`` are even and odd rows."""
        names = [
            f"{m.source}{'%' if m.phase else '/'}{m.factor}-{m.target}{'' if m.major else '%'}".lower()
            for m in self.moves
        ]
        return f"{'+'.join(names)}{'-halo' if self.halo else ''}"

    def family(self) -> str:
        """What exchanges with other factors have in common with it."""
        return "".join(f"{m.source}{m.phase}{m.target}{m.major}" for m in self.moves) + str(self.halo)


class Convolution(NamedTuple):
    """A program that is one two-dimensional convolution of its two inputs, channels first."""

    program: TensorGraph
    data: tuple[int, ...]
    weight: tuple[int, ...]
    out: tuple[int, ...]
    attrs: Any

    @classmethod
    def of(cls, program: TensorGraph) -> Convolution:
        """Read a program.

        Raises
        ------
        IllTyped
            It is something else.
        """
        node = program.nodes[program.outputs[0]]
        if node.op != "conv2d" or list(node.inputs) != inputs_of(program) or len(program.outputs) != 1:
            raise IllTyped("not one convolution of two inputs")
        attrs: Any = node.attrs
        if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW"):
            raise IllTyped("not a convolution with channels first")
        x, w, out = (static_shape(program, i) for i in (*node.inputs, program.outputs[0]))
        return cls(program, x, w, out, attrs)

    def thin(self) -> Convolution:
        """The same geometry with one channel and one filter, where positions can be compared cheaply."""
        graph = TensorGraph()
        dtype = self.program.nodes[self.program.outputs[0]].type.dtype  # type: ignore[union-attr]
        draft = Draft(graph)
        shapes = ((self.data[0], 1, *self.data[2:]), (1, 1, *self.weight[2:]))
        leaves = [draft("input", index=i, type=TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
        attrs = self.attrs._replace(groups=1)
        return Convolution.of(draft.done(draft.apply("conv2d", attrs, *leaves)))


class _Plan:
    """Sizes and places of all digits of an exchange, of the data and of the result."""

    def __init__(self, conv: Convolution, exchange: Exchange) -> None:
        self.x = dict(zip("NCHW", conv.data, strict=True))
        self.y = dict(zip("NCHW", conv.out, strict=True))
        self.kernel = {"H": conv.weight[2], "W": conv.weight[3]}
        self.stride = dict(zip("HW", conv.attrs.strides, strict=True))
        self.reach = {a: (self.kernel[a] - 1) * d for a, d in zip("HW", conv.attrs.dilation, strict=True)}
        self.padding = dict(zip("HW", conv.attrs.padding[:2], strict=True))
        self.after = dict(zip("HW", conv.attrs.padding[2:], strict=True))
        self.exchange = exchange
        self.given = {a: [a] for a in "NCHW"}  # digits of the axes, outer first
        self.size = {a: (self.x[a], self.y[a]) for a in "NCHW"}  # of each digit: in the data, in the result
        self.edges = {a: (0, 0) for a in "HW"}  # zeros around the data
        self.tiles: dict[str, tuple[int, int]] = {}  # of overlapping tiles: how far they are apart, how long they are
        for move in exchange.moves:
            self._part(move)
        self.placed = {a: [digit for digit in digits if digit.isupper()] for a, digits in self.given.items()}
        for move in exchange.moves:
            digit, there = move.source.lower(), self.placed[move.target]
            self.placed[move.target] = [digit, *there] if move.major else [*there, digit]
        self.gap = {a: self._gap(a) for a in "HW"}

    def _part(self, move: Move) -> None:
        """Split the source's axis."""
        axis, f = move.source, move.factor
        if len(self.given[axis]) > 1 or f < 2:
            raise IllTyped(f"axis {axis} can't be split by {f} again")
        rest = self._part_spatial(move) if axis in "HW" else (self.x[axis] // f, self.y[axis] // f)
        if axis not in "HW" and self.x[axis] % f:
            raise IllTyped(f"{self.x[axis]} isn't a multiple of {f}")
        self.given[axis] = [axis, axis.lower()] if move.phase else [axis.lower(), axis]
        self.size[axis.lower()], self.size[axis] = (f, f), rest

    def _part_spatial(self, move: Move) -> tuple[int, int]:
        axis, f = move.source, move.factor
        stride, length, wanted = self.stride[axis], self.x[axis], -(-self.y[axis] // f)
        if move.phase:
            if stride != 1:
                raise IllTyped("phases of a strided convolution don't stay apart")
            front = self.padding[axis] if self.padding[axis] % f else 0
            pieces = -(-(length + front) // f)
            self.edges[axis] = front, pieces * f - length - front
            return pieces, wanted
        if self.exchange.halo:
            tile = (wanted - 1) * stride + self.reach[axis] + 1
            if f > _TILES or tile > _OVERLAP * wanted * stride:
                raise IllTyped(f"{f} tiles of {tile} that are {wanted * stride} apart copy too much")
            self.tiles[axis] = wanted * stride, tile
            front = self.padding[axis]
            self.edges[axis] = front, (f - 1) * wanted * stride + tile - length - front
            return tile, wanted
        piece = wanted * stride
        if piece * f < length:
            raise IllTyped("blocks don't cover the data")
        self.edges[axis] = 0, piece * f - length
        return piece, wanted

    def _gap(self, axis: str) -> int:
        """Zeros after each piece of the data on an axis that others came to."""
        if not self.exchange.halo or len(self.placed[axis]) == 1 or not self.placed[axis][0].islower():
            return 0
        inner, out = self._inner(axis, 0), self._inner(axis, 1)
        stride, before = self.stride[axis], self.exchange.before[self._index(axis)]
        needed = max(before, (out - 1) * stride - before + self._reach(axis) + 1 - inner)
        return needed + -(inner + needed) % stride

    def _reach(self, axis: str) -> int:
        return (self.kernel[axis] - 1) * self.exchange.dilation[self._index(axis)]

    @staticmethod
    def _index(axis: str) -> int:
        return "HW".index(axis)

    def _inner(self, axis: str, which: int) -> int:
        """Elements of all digits but the first."""
        return prod(self.size[digit][which] for digit in self.placed[axis][1:])

    def piece(self, axis: str, which: int) -> tuple[int, int]:
        """Number and length of the pieces of an axis, with what is between them, of the data or the result."""
        gap = self.gap.get(axis, 0)
        inner = self._inner(axis, 0) + gap
        if gap and which:
            inner //= self.stride[axis]
        if gap:
            return self.size[self.placed[axis][0]][which], inner
        return 1, prod(self.size[digit][which] for digit in self.placed[axis])

    def digits(self, placed: bool) -> list[str]:
        """All digits, outer first, before or after the moves."""
        return [digit for digits in (self.placed if placed else self.given).values() for digit in digits]


def exchanged(conv: Convolution, exchange: Exchange) -> TensorGraph:
    """The program that an exchange makes of a convolution: of the same type, and partly or everywhere equal to it.

    Raises
    ------
    IllTyped
        The shapes don't allow it.
    """
    plan = _Plan(conv, exchange)
    draft = Draft(conv.program)
    x, w = draft.leaves
    x = _there(draft, x, plan)
    after = []
    for i, axis in enumerate("HW"):
        wanted = prod(plan.piece(axis, 1))
        have = draft.shape(x)[AXES[axis]]
        reach = (conv.weight[2 + i] - 1) * exchange.dilation[i]
        after.append((wanted - 1) * conv.attrs.strides[i] + reach + 1 - have - exchange.before[i])
    if min(after) < 0:
        raise IllTyped("the data is longer than the result needs")
    attrs = conv.attrs._replace(dilation=exchange.dilation, padding=(*exchange.before, *after))
    return draft.done(_back(draft, draft.apply("conv2d", attrs, x, w), plan))


def _there(draft: Draft, x: int, plan: _Plan) -> int:
    """The data with its digits moved."""
    for axis, (before, after) in plan.edges.items():
        x = draft.pad(x, AXES[axis], before, after)
    for axis, (apart, length) in plan.tiles.items():
        count = plan.size[axis.lower()][0]
        if apart != length:
            x = draft.concat(
                [draft.slice(x, AXES[axis], i * apart, i * apart + length) for i in range(count)], AXES[axis]
            )
    given, placed = plan.digits(placed=False), plan.digits(placed=True)
    x = draft.reshape(x, [plan.size[digit][0] for digit in given])
    x = draft.permute(x, [given.index(digit) for digit in placed])
    pieces = [plan.piece(axis, 0) for axis in "NCHW"]
    gaps = [plan.gap.get(axis, 0) for axis in "NCHW"]
    if any(gaps):
        x = draft.reshape(x, [d for (count, size), gap in zip(pieces, gaps, strict=True) for d in (count, size - gap)])
        for i, gap in enumerate(gaps):
            x = draft.pad(x, 2 * i + 1, 0, gap)
    return draft.reshape(x, [count * size for count, size in pieces])


def _back(draft: Draft, y: int, plan: _Plan) -> int:
    """The result with its digits moved back."""
    pieces = [plan.piece(axis, 1) for axis in "NCHW"]
    if any(plan.gap.values()):
        y = draft.reshape(y, [d for piece in pieces for d in piece])
        for axis, gap in plan.gap.items():
            if gap:
                i = 2 * AXES[axis] + 1
                y = draft.slice(y, i, 0, prod(plan.size[digit][1] for digit in plan.placed[axis][1:]))
    given, placed = plan.digits(placed=False), plan.digits(placed=True)
    y = draft.reshape(y, [plan.size[digit][1] for digit in placed])
    y = draft.permute(y, [placed.index(digit) for digit in given])
    y = draft.reshape(y, [prod(plan.size[digit][1] for digit in plan.given[axis]) for axis in "NCHW"])
    for axis in "HW":
        y = draft.slice(y, AXES[axis], 0, plan.y[axis])
    return y
