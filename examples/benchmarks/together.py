"""Several programs in one compiled module: a kernel that they share is compiled once, and can be timed by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.instrument import pass_instrument
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.relax.utils import copy_with_new_vars
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.database import Database
from tvm.target import Target
from tvm.tirx import PrimFunc

from examples.programs import Inputs, Program, results_of
from tvm_eqsat.cost.lower import Kernel, kernel_of
from tvm_eqsat.lowering import lowering


class Together:
    """Programs with their tuned kernels.

    Parameters
    ----------
    mods : sequence of tvm.IRModule
        Each with one Relax function, ``main``, and the TIR functions that it calls.
    target : tvm.target.Target
        The target.
    database : tvm.s_tir.meta_schedule.Database
        Tuned kernels.

    Attributes
    ----------
    kernels : dict of int to Kernel
        The distinct kernels by structural hash; each has the name that it has in the module.
    """

    def __init__(self, mods: Sequence[tvm.IRModule], target: Target, database: Database) -> None:
        fused = _Fused()
        with tvm.transform.PassContext(opt_level=3, instruments=[fused]):
            compiled = tvm.compile(_merged(mods), target, relax_pipeline=lowering(target, database))
        tasks = ms.relax_integration.extract_tasks(fused.mod, target)
        self.kernels = {kernel.hash: kernel for kernel in map(kernel_of, tasks)}
        self._library = compiled.jit()
        self._machine = relax.VirtualMachine(self._library, tvm.cpu())

    def program(self, number: int, inputs: Inputs) -> Program:
        """One of the programs; ``inputs`` are in the order of its parameters."""
        run, tensors = self._machine[_name(number)], [tvm.runtime.tensor(value) for value in inputs.values()]

        def call() -> list[np.ndarray]:
            return results_of(run(*tensors))

        return call

    def calls(self, hashes: Iterable[int]) -> dict[int, Callable[[], float]]:
        """What calls each kernel once and tells the seconds; without those that the module doesn't have.

        Operands but the first are flushed from the caches before, as when kernels are tuned. The call goes through
        Python instead of Relax's virtual machine, which takes about as long.
        """
        found = {}
        for shash in hashes:
            kernel = self.kernels.get(shash)
            if kernel is not None and self._library.implements_function(kernel.name, query_imports=True):
                found[shash] = _timed_call(self._library.get_function(kernel.name, query_imports=True), kernel)
        return found


def _name(number: int) -> str:
    return f"program_{number}"


def _merged(mods: Sequence[tvm.IRModule]) -> tvm.IRModule:
    """One module; functions that several have are in it once."""
    builder = relax.BlockBuilder()
    functions = {}
    for number, mod in enumerate(mods):
        known = {gv: builder.add_func(f, gv.name_hint) for gv, f in mod.functions.items() if isinstance(f, PrimFunc)}
        function = copy_with_new_vars(mod["main"])  # rewritten programs have variables in common
        function = _Renamer(known).visit_expr(function)
        functions[tvm.ir.GlobalVar(_name(number))] = function.with_attr("global_symbol", _name(number))
    return tvm.IRModule({**functions, **dict(builder.get().functions.items())})


@mutator
class _Renamer(PyExprMutator):
    """Calls other functions instead."""

    def __init__(self, names: Mapping[tvm.ir.GlobalVar, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self.names = names

    def visit_global_var_(self, var: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        return self.names.get(var, var)


def _timed_call(function: Any, kernel: Kernel) -> Callable[[], float]:
    assert kernel.mod is not None
    types = [parameter.ty for parameter in kernel.mod["main"].params]
    rng = np.random.default_rng(0)
    # 0 and 1 are legal indices and truth values, too
    arrays = [rng.integers(0, 2, [int(dim) for dim in ty.shape]).astype(str(ty.dtype)) for ty in types]
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    flush = tvm.get_global_func("cache_flush_cpu_non_first_arg")

    def call() -> float:
        flush(*tensors)
        started = time.perf_counter()
        function(*tensors)
        return time.perf_counter() - started

    return call


@pass_instrument
class _Fused:
    """Keeps the module of fused kernels, before schedules are applied."""

    def __init__(self) -> None:
        self.mod = tvm.IRModule({})

    def run_before_pass(self, mod: tvm.IRModule, info: Any) -> None:
        if str(info.name) == "MetaScheduleApplyDatabase":
            self.mod = mod
