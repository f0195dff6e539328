"""A whole ``IRModule``: find its dataflow blocks, and put rewritten ones in their place."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tvm import IRModule, relax
from tvm.relax.expr import _update_type

from ..errors import ImportFailure
from .region import Region
from .relax_emit import emit_block
from .relax_import import import_block
from .tensor_graph import TensorGraph

logger = logging.getLogger("tvm_eqsat.graph")

# What a code generator or a fused kernel is chosen by must stay as it is.
_CLAIMED = ("Primitive", "Codegen", "Composite")


class Skipped(NamedTuple):
    """Something that is left alone."""

    where: str
    reason: str


@dataclass
class ModuleRegions:
    """The dataflow blocks of a module.

    Attributes
    ----------
    mod : IRModule
        The module.
    regions : list of Region
        Its readable blocks, functions in alphabetical order, blocks in program order.
    skipped : list of Skipped
        Blocks and functions that can't be read or mustn't change, with the reason.
    """

    mod: IRModule
    regions: list[Region] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def rebuild(self, graphs: Sequence[TensorGraph | None], fold_limit: int) -> IRModule:
        """The module with some blocks rewritten; everything else in it is the very same object.

        Parameters
        ----------
        graphs : sequence of TensorGraph or None
            For each region the graph that takes its place; None leaves the block as it is.
        fold_limit : int
            The most bytes of a folded constant.

        Returns
        -------
        IRModule
            The original module itself if no block changes.
        """
        builder = relax.BlockBuilder(self.mod)
        blocks: dict[relax.DataflowBlock, relax.DataflowBlock] = {}
        taken: dict[str, set[str]] = defaultdict(set)
        for region, graph in zip(self.regions, graphs, strict=True):
            if graph is not None:
                names = taken[region.function]
                block = blocks[region.block] = emit_block(region, graph, fold_limit, builder=builder, taken=names)
                names.update(binding.var.name for binding in block.bindings)
        if not blocks:
            return self.mod
        rebuilt = builder.get().clone()
        for name, function in self.mod.functions.items():
            if isinstance(function, relax.Function):
                other = _with_blocks(function, blocks)
                if other is not function:
                    rebuilt.update_func(name, other)
        return rebuilt


def read_module(mod: IRModule) -> ModuleRegions:
    """Read every dataflow block of every Relax function, in branches and local functions too.

    Parameters that come after the first ``num_input``, where a function has this attribute, are weights. Functions
    that belong to a code generator are left alone, as are blocks that :func:`import_block` refuses.
    """
    found = ModuleRegions(mod)
    seen: set[relax.DataflowBlock] = set()
    for var, function in sorted(mod.functions.items(), key=lambda item: item[0].name_hint):
        if isinstance(function, relax.Function):
            _read_function(var.name_hint, function, found, seen)
    for skipped in found.skipped:
        logger.info("%s is left alone: %s", skipped.where, skipped.reason)
    return found


def _read_function(name: str, function: relax.Function, found: ModuleRegions, seen: set[relax.DataflowBlock]) -> None:
    claim = _claim(function)
    if claim:
        found.skipped.append(Skipped(name, f"it has the attribute {claim}"))
        return
    blocks = list(_blocks(function.body))
    names = {var.name for var in function.params} | {binding.var.name for block in blocks for binding in block.bindings}
    weights: set[relax.Var] = set()
    if function.attrs is not None and "num_input" in function.attrs:
        weights.update(list(function.params)[int(function.attrs["num_input"]) :])
    for i, block in enumerate(blocks):
        if not isinstance(block, relax.DataflowBlock) or block in seen:
            continue
        seen.add(block)
        where = f"{name}, block {i}"
        try:
            region = import_block(block, weight_vars=weights)
        except ImportFailure as failure:
            found.skipped.append(Skipped(where, str(failure)))
            continue
        own = {binding.var.name for binding in block.bindings if isinstance(binding.var, relax.DataflowVar)}
        region.function, region.where, region.taken = name, where, frozenset(names - own)
        found.regions.append(region)


def _claim(function: relax.Function) -> str:
    """The attribute by which a code generator claims a function, or an empty string."""
    return next((claim for claim in _CLAIMED if function.attrs is not None and claim in function.attrs), "")


def _blocks(expr: relax.Expr) -> Iterator[relax.BindingBlock]:
    """Binding blocks of an expression and of the branches and local functions in it, in program order."""
    if isinstance(expr, relax.SeqExpr):
        for block in expr.blocks:
            yield block
            if not isinstance(block, relax.DataflowBlock):
                for binding in block.bindings:
                    yield from _blocks(binding.value)
    elif isinstance(expr, relax.If):
        yield from _blocks(expr.true_branch)
        yield from _blocks(expr.false_branch)
    elif isinstance(expr, relax.Function) and not _claim(expr):
        yield from _blocks(expr.body)


def _with_blocks(expr: relax.Expr, new: dict[relax.DataflowBlock, relax.DataflowBlock]) -> relax.Expr:
    """The expression with other blocks; the same object if none of them is in it."""
    if isinstance(expr, relax.SeqExpr):
        blocks = list(expr.blocks)
        others = [_block_with_blocks(block, new) for block in blocks]
        if all(a is b for a, b in zip(blocks, others, strict=True)):
            return expr
        rebuilt = relax.SeqExpr(others, expr.body, expr.span)
    elif isinstance(expr, relax.If):
        branches = [expr.true_branch, expr.false_branch]
        others = [_with_blocks(branch, new) for branch in branches]
        if all(a is b for a, b in zip(branches, others, strict=True)):
            return expr
        rebuilt = relax.If(expr.cond, *others, expr.span)
    elif isinstance(expr, relax.Function):
        body = expr.body
        other = _with_blocks(body, new)
        if other is body:
            return expr
        return relax.Function(expr.params, other, expr.ret_ty, expr.is_pure, expr.attrs, expr.span)
    else:
        return expr
    _update_type(rebuilt, expr.ty)  # output variables keep their types, so this can't change
    return rebuilt


def _block_with_blocks(
    block: relax.BindingBlock, new: dict[relax.DataflowBlock, relax.DataflowBlock]
) -> relax.BindingBlock:
    if isinstance(block, relax.DataflowBlock):
        return new.get(block, block)
    bindings = list(block.bindings)
    others = [_binding_with_blocks(binding, new) for binding in bindings]
    if all(a is b for a, b in zip(bindings, others, strict=True)):
        return block
    return relax.BindingBlock(others, block.span)


def _binding_with_blocks(binding: relax.Binding, new: dict[relax.DataflowBlock, relax.DataflowBlock]) -> relax.Binding:
    value = binding.value
    other = _with_blocks(value, new)
    if other is value:
        return binding
    return relax.VarBinding(binding.var, other, binding.span)
