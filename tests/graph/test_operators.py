"""The operator table against Relax's type inference and TVM's compiled results, record by record."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.graph.operand_types import NAMES, cases, values
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.operator import Fusion
from tvm_eqsat.graph.ops import BY_RELAX_NAME, OPERATORS
from tvm_eqsat.graph.types import TensorType

COMPILED = 2  # cases of each operator that are compiled


def variables(types: list[TensorType]) -> list[relax.Var]:
    return [relax.Var(f"x{i}", relax.TensorType(t.shape, t.dtype)) for i, t in enumerate(types)]


def emit_function(bb: relax.BlockBuilder, name: str, case: str, types: list[TensorType], attrs: Any) -> relax.Var:
    """A function that applies the operator once; its result variable."""
    params = variables(types)
    with bb.function(case, params):
        with bb.dataflow():
            result = bb.emit_output(OPERATORS[name].emit(list(params), attrs))
        bb.emit_func_output(result)
    return result


def relax_type(var: relax.Var) -> TensorType:
    return TensorType(tuple(int(d) for d in var.ty.shape.values), str(var.ty.dtype.dtype))


def call_of(expr: Any) -> Any:
    """The call within what ``emit`` returns (``batch_norm``: the first field of it)."""
    return expr.tuple_value if isinstance(expr, relax.TupleGetItem) else expr


@pytest.mark.parametrize("name", NAMES)
def test_infers_what_relax_infers(name: str) -> None:
    bb = relax.BlockBuilder()
    for number, (types, attrs) in enumerate(cases(name)):
        result = emit_function(bb, name, f"case{number}", types, attrs)
        assert OPERATORS[name].infer(types, attrs) == relax_type(result), (types, attrs)


@pytest.mark.parametrize("name", NAMES)
def test_takes_no_dtype_that_relax_refuses(name: str) -> None:
    bb = relax.BlockBuilder()
    for dtype in ("float16", "bfloat16", "float64", "int8", "uint8", "int64", "bool"):
        for number, (types, attrs) in enumerate(cases(name)[:2]):
            # The dtype of the first operand, wherever it appears: indices and conditions stay.
            changed = [t._replace(dtype=dtype) if t.dtype == types[0].dtype else t for t in types]
            try:
                found = OPERATORS[name].infer(changed, attrs)
            except IllTyped:
                continue
            assert found == relax_type(emit_function(bb, name, f"{dtype}{number}", changed, attrs))


@pytest.mark.parametrize("name", [name for name in NAMES if OPERATORS[name].relax])
def test_reads_what_it_emits(name: str) -> None:
    record = OPERATORS[name]
    assert BY_RELAX_NAME[record.relax] is record
    for types, attrs in cases(name):
        operands = variables(types)
        call = call_of(record.emit(list(operands), attrs))
        assert call.op.name == record.relax
        found = record.read(call)
        assert found is not None, (types, attrs)
        assert len(found[0]) == len(operands)
        assert all(a.same_as(b) for a, b in zip(found[0], operands, strict=True))
        assert found[1] == attrs
        assert all(type(a) is type(b) for a, b in zip(found[1], attrs, strict=True)), (found[1], attrs)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_meaning_has_the_inferred_type(name: str) -> None:
    record = OPERATORS[name]
    for number, (types, attrs) in enumerate(cases(name)):
        out = np.asarray(record.numpy(values(name, number), attrs))
        assert TensorType(out.shape, str(out.dtype)) == record.infer(types, attrs)


@pytest.fixture(scope="module")
def module() -> tvm.IRModule:
    """One function for each compiled case of each operator."""
    bb = relax.BlockBuilder()
    for name in NAMES:
        for number in range(COMPILED):
            emit_function(bb, name, f"{name}_{number}", *cases(name)[number])
    return bb.get()


@pytest.fixture(scope="module")
def machine(module: tvm.IRModule) -> relax.VirtualMachine:
    return relax.VirtualMachine(tvm.compile(module, tvm.target.Target({"kind": "llvm", "opt-level": 1})), tvm.cpu())


# Relative to the largest result: half precision has 11 bits and TVM accumulates in it; single precision has 24 bits,
# of which TVM's approximations of transcendental functions (tanh, erf, exp) keep about 20.
TOLERANCE = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-6}


@pytest.mark.parametrize("name", NAMES)
def test_numpy_meaning_is_what_tvm_computes(name: str, machine: relax.VirtualMachine) -> None:
    for number in range(COMPILED):
        types, attrs = cases(name)[number]
        arrays = values(name, number)
        got = machine[f"{name}_{number}"](*map(tvm.runtime.tensor, arrays)).numpy()
        expected = np.asarray(OPERATORS[name].numpy(arrays, attrs))
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        tolerance = max((TOLERANCE.get(str(t.dtype), 0) for t in (*types, expected)), default=0)
        finite = np.abs(expected[np.isfinite(expected)].astype("float64"))
        np.testing.assert_allclose(
            got.astype("float64"),
            expected.astype("float64"),
            rtol=tolerance,
            atol=tolerance * finite.max(initial=0),
            err_msg=f"{[*map(str, types)]} {attrs}",
        )


def test_fusion_kinds_are_those_that_tvm_finds(module: tvm.IRModule) -> None:
    lowered = relax.transform.AnnotateTIROpPattern()(relax.transform.LegalizeOps()(module))
    for name in NAMES:
        kinds = set()
        for number in range(COMPILED):
            body = lowered[f"{name}_{number}"].body.blocks[0].bindings[0].value
            kinds.add(Fusion(int(lowered[body.args[0]].attrs["op_pattern"])))
        expected = OPERATORS[name].fusion
        # A degenerate case, such as a slice that takes everything, is simpler; a product with a vector only reduces.
        simpler = {k for k in Fusion if k < expected} if expected <= Fusion.INJECTIVE else set()
        if name == "matmul":
            simpler = {Fusion.REDUCE}
        elif name.startswith("adaptive"):
            simpler = {Fusion.OPAQUE}  # bins of unequal size
        assert kinds <= {expected} | simpler, (name, kinds)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["add", "relu", "exp", "gelu", "sum", "mean", "matmul", "layer_norm", "softmax"])
def test_narrow_floats_keep_their_dtype(name: str, dtype: str) -> None:
    types = {"add": 2, "matmul": 2, "layer_norm": 3}.get(name, 1) * [TensorType((4, 4), dtype)]
    attrs = {"sum": {"axes": (0,)}, "mean": {"axes": (0,)}, "layer_norm": {"axes": (0, 1)}, "softmax": {"axis": 1}}
    record = OPERATORS[name]
    arrays = [np.linspace(-1, 1, 16).reshape(4, 4).astype(dtype) for _ in types]
    full = record.make_attrs(**attrs.get(name, {}))
    out = record.numpy(arrays, full)
    assert str(out.dtype) == record.infer(types, full).dtype == dtype
    wide = record.numpy([a.astype("float64") for a in arrays], full)
    np.testing.assert_allclose(out.astype("float64"), wide, rtol=0.03, atol=0.03)


def test_flops_are_counted() -> None:
    f32 = "float32"
    conv, matmul = OPERATORS["conv2d"], OPERATORS["matmul"]
    types = [TensorType((1, 64, 56, 56), f32), TensorType((32, 64, 3, 3), f32)]
    attrs = conv.make_attrs(padding=(1, 1, 1, 1))
    assert conv.flops(types, conv.infer(types, attrs), attrs) == 2 * 32 * 56 * 56 * 64 * 9
    types = [TensorType((2, 5, 7), f32), TensorType((7, 3), f32)]
    assert matmul.flops(types, matmul.infer(types, matmul.make_attrs()), matmul.make_attrs()) == 2 * 2 * 5 * 3 * 7
    for name in NAMES:
        types, drawn = cases(name)[0]
        assert OPERATORS[name].flops(types, OPERATORS[name].infer(types, drawn), drawn) >= 0


def test_inference_is_fast() -> None:
    """It runs for every e-node: a few microseconds each (the bound allows for a slow, busy machine)."""
    work = [(OPERATORS[name].infer, types, attrs) for name in NAMES for types, attrs in cases(name)]
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for infer, types, attrs in work:
            infer(types, attrs)
        best = min(best, time.perf_counter() - start)
    assert best / len(work) < 40e-6
