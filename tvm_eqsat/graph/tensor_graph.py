"""``TensorGraph``: one Relax dataflow block as a hash-consed DAG of table operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .operator import OPERATORS
from .types import TensorType, ValueType

_WORDS: dict[int, Any] = {2: np.uint16, 4: np.uint32, 8: np.uint64}  # bit patterns of elements, by their bytes
_PIECE = 1 << 18  # elements
_UNKNOWN = object()


class Constant:
    """A constant tensor, equal to any other with the same dtype, shape and bits.

    Parameters
    ----------
    array : numpy.ndarray
        The value. Not copied unless it isn't contiguous; it must not change afterwards.
    dtype : str, optional
        TVM's dtype where NumPy has no spelling of its own; the array's by default.
    expr : relax.Constant, optional
        The expression it was read from, emitted again instead of a copy.
    """

    __slots__ = ("_bits", "_fill", "_hash", "array", "expr", "type")

    def __init__(self, array: np.ndarray, dtype: str | None = None, expr: Any = None) -> None:
        self.array = np.asarray(array, order="C")
        self.type = TensorType(tuple(int(d) for d in self.array.shape), dtype or str(self.array.dtype))
        self.expr = expr
        self._bits = self.array.reshape(-1).view(_WORDS.get(self.array.itemsize, np.uint8))
        self._fill: Any = _UNKNOWN
        # Weights are large: a sample decides the bucket, equality looks at every bit.
        self._hash = hash((self.type, self._sample().tobytes()))

    def _sample(self) -> np.ndarray:
        return self._bits[:: max(1, self._bits.size // 64)]

    @property
    def fill(self) -> Any:
        """The one value, to the bit, that the tensor is filled with (a Python scalar); None if there is none."""
        if self._fill is _UNKNOWN:
            self._fill = self._find_fill()
        return self._fill

    def _find_fill(self) -> Any:
        sample, bits = self._sample(), self._bits
        if not bits.size or (sample != sample[0]).any() or (bits != bits[0]).any():
            return None
        value = self.array.reshape(-1)[0]
        return value.item() if value == value else None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Constant) or self._hash != other._hash or self.type != other.type:
            return False
        # In pieces: tensors that only resemble each other mostly differ in the first one.
        mine, theirs = self._bits, other._bits
        return all(np.array_equal(mine[i : i + _PIECE], theirs[i : i + _PIECE]) for i in range(0, mine.size, _PIECE))

    def __repr__(self) -> str:
        return f"Constant({self.type}{'' if self.fill is None else f', all {self.fill}'})"


class Node(NamedTuple):
    """One operator applied to earlier nodes."""

    op: str
    attrs: tuple[Any, ...]
    inputs: tuple[int, ...]
    type: TensorType | ValueType


class TensorGraph:
    """A hash-consed DAG: equal nodes are stored once, inputs precede their users.

    Attributes
    ----------
    nodes : list of Node
        In topological order; a node is named by its position.
    outputs : list of int
        The nodes that are visible outside.
    names : dict of int to str
        Readable names of some nodes, taken from the Relax variables.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.outputs: list[int] = []
        self.names: dict[int, str] = {}
        self._memo: dict[tuple[str, tuple[Any, ...], tuple[int, ...]], int] = {}

    def add(self, op: str, inputs: Sequence[int] = (), attrs: tuple[Any, ...] = ()) -> int:
        """Add a node, or find the equal one.

        Raises
        ------
        IllTyped
            The operator doesn't apply to operands of these types.
        """
        key = (op, attrs, tuple(inputs))
        found = self._memo.get(key)
        if found is None:
            record = OPERATORS[op]
            record.check_arity(len(key[2]))
            out = record.infer([self.nodes[i].type for i in key[2]], attrs)  # type: ignore[misc]
            found = self._memo[key] = len(self.nodes)
            self.nodes.append(Node(op, attrs, key[2], out))
        return found

    def include(self, other: TensorGraph, given: Mapping[int, int]) -> dict[int, int]:
        """Add another program.

        Parameters
        ----------
        other : TensorGraph
            The program; what its outputs need is added.
        given : mapping of int to int
            For nodes of the other program that aren't added, the node that takes their place.

        Returns
        -------
        dict of int to int
            For each node of the other program that its outputs need, the node here.
        """
        place: dict[int, int] = {}
        for i in other.live():
            node = other.nodes[i]
            place[i] = given[i] if i in given else self.add(node.op, [place[k] for k in node.inputs], node.attrs)
        return place

    def live(self) -> list[int]:
        """Nodes that the outputs depend on, in topological order."""
        seen = set(self.outputs)
        for i in range(len(self.nodes) - 1, -1, -1):
            if i in seen:
                seen.update(self.nodes[i].inputs)
        return sorted(seen)

    def users(self, among: Iterable[int] | None = None) -> list[list[int]]:
        """For each node, the nodes that use it, once per use."""
        users: list[list[int]] = [[] for _ in self.nodes]
        for i in self.live() if among is None else among:
            for child in self.nodes[i].inputs:
                users[child].append(i)
        return users
