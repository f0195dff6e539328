"""``Region``: one dataflow block as a ``TensorGraph``, and what is needed to turn such a graph back into a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from tvm import relax

from .tensor_graph import TensorGraph

# The structure of a Relax value: a number stands for one that isn't a tuple.
Tree: TypeAlias = "int | tuple[Tree, ...]"


def paths(tree: Tree, above: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The field indices that lead to each leaf, from left to right."""
    if isinstance(tree, int):
        yield above
    else:
        for i, part in enumerate(tree):
            yield from paths(part, (*above, i))


@dataclass(frozen=True)
class Kept:
    """An expression that the operator table doesn't know, kept as it is.

    Attributes
    ----------
    expr : relax.Expr
        The expression.
    operands : tuple of (relax.Var, Tree)
        The variables in it. Leaves are positions among the operands of its ``opaque`` nodes.
    result : Tree
        The structure of its value. Leaves are the ``field`` attributes of its ``opaque`` nodes, 0, 1, 2...
    name : str
        Name of the variable that it was bound to.
    """

    expr: relax.Expr
    operands: tuple[tuple[relax.Var, Tree], ...]
    result: Tree
    name: str


@dataclass
class Region:
    """What :func:`~tvm_eqsat.graph.relax_import.import_block` reads from a dataflow block.

    Attributes
    ----------
    block : relax.DataflowBlock
        The original.
    graph : TensorGraph
        Its meaning. Nodes that no output depends on may be in it: see :meth:`TensorGraph.live`.
    inputs : list of relax.Expr
        What the block takes from outside, by the ``index`` attribute of ``input`` nodes: a variable, or a field
        ``params[3]`` of one.
    outputs : list of relax.Var
        The variables that the block defines for the code behind it.
    output_trees : list of Tree
        Structure of each of ``outputs``. Leaves are positions in ``graph.outputs``; unless an output is a tuple
        these are simply 0, 1, 2...
    opaque : dict of int to Kept
        The expressions behind ``opaque`` nodes, by their ``key`` attribute.
    function : str
        Name of the function that the block is in.
    where : str
        Where the block is, for messages and reports.
    taken : frozenset of str
        Names of the function's other variables, not to be given to new ones.
    """

    block: relax.DataflowBlock
    graph: TensorGraph
    inputs: list[relax.Expr] = field(default_factory=list)
    outputs: list[relax.Var] = field(default_factory=list)
    output_trees: list[Tree] = field(default_factory=list)
    opaque: dict[int, Kept] = field(default_factory=dict)
    function: str = ""
    where: str = "dataflow block"
    taken: frozenset[str] = frozenset()
