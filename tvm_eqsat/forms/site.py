"""Operators whose form is worth a choice, apart from where they stand."""

from __future__ import annotations

from collections import Counter
from math import log2, prod
from typing import Any, NamedTuple

from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType
from ..rules.analysis import facts_of


class Site(NamedTuple):
    """A convolution, or a product with a matrix, with a weight that is known before the first run.

    Attributes
    ----------
    op : str
        ``"conv2d"`` or ``"matmul"``.
    attrs : tuple
        Its attributes.
    data, weight : TensorType
        Its operands.
    """

    op: str
    attrs: Any
    data: TensorType
    weight: TensorType

    @property
    def out(self) -> TensorType:
        """Its result."""
        return OPERATORS[self.op].infer([self.data, self.weight], self.attrs)

    @property
    def filters(self) -> int:
        """Channels of the result."""
        return int(self.weight.shape[self._axis("O") if self.op == "conv2d" else 1])

    @property
    def channels(self) -> int:
        """Channels of the data."""
        return int(self.weight.shape[self._axis("I") if self.op == "conv2d" else 0])

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        if self.op != "conv2d":
            return 1, 1
        height, width = (int(self.weight.shape[self._axis(letter)]) for letter in "HW")
        return height, width

    @property
    def image(self) -> tuple[int, int]:
        """Rows and columns of the result: a product's rows are a single column."""
        if self.op != "conv2d":
            return prod(int(d) for d in self.data.shape[:-1]), 1
        rows, columns = (int(self.out.shape[self.attrs.data_layout.index(letter)]) for letter in "HW")
        return rows, columns

    def features(self) -> tuple[float, ...]:
        """Logarithms of what makes operators alike: places, channels, filters, taps, stride."""
        stride = self.attrs.strides[0] if self.op == "conv2d" else 1
        sizes = prod(self.image), self.channels, self.filters, prod(self.kernel), stride
        return tuple([log2(size) for size in sizes])

    def graph(self) -> TensorGraph:
        """The operator as a program."""
        graph = TensorGraph()
        record = OPERATORS["input"]
        leaves = [
            graph.add("input", (), record.make_attrs(index=i, type=type_, weight=i == 1))
            for i, type_ in enumerate((self.data, self.weight))
        ]
        graph.outputs = [graph.add(self.op, leaves, self.attrs)]
        return graph

    def __str__(self) -> str:
        attrs = ",".join(f"{name}={value}" for name, value in zip(OPERATORS[self.op].schema, self.attrs, strict=True))
        return f"{self.op}({self.data}, {self.weight}; {attrs})"

    def _axis(self, letter: str) -> int:
        return int(self.attrs.kernel_layout.index(letter))


def sites_of(graph: TensorGraph) -> Counter[Site]:
    """The operators of a program whose form can be chosen, and how often each stands there."""
    facts = facts_of(graph)
    found: Counter[Site] = Counter()
    for i, fact in facts.items():
        node = graph.nodes[i]
        if node.op not in ("conv2d", "matmul") or fact.const:
            continue
        data, weight = (facts[k] for k in node.inputs)
        site = Site(node.op, node.attrs, data.type, weight.type)  # type: ignore[arg-type]
        if weight.const and not data.const and _is_choosable(site):
            found[site] += 1
    return found


def _is_choosable(site: Site) -> bool:
    types = (site.data, site.weight)
    if not all(isinstance(t, TensorType) and t.static and t.dtype == "float32" for t in types):
        return False
    if site.op == "matmul":
        return len(site.weight.shape) == 2 and len(site.data.shape) >= 2
    a = site.attrs
    return bool((a.data_layout, a.kernel_layout) in (("NCHW", "OIHW"), ("NHWC", "HWIO")) and a.groups == 1)
