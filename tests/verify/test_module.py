"""Comparing two modules on random inputs."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.target import Target

from tvm_eqsat.errors import VerificationError
from tvm_eqsat.verify.module import compare_modules

TARGET = Target({"kind": "llvm", "num-cores": 1})


@I.ir_module
class Separate:
    @R.function
    def main(x: R.Tensor((2, 8), "float32"), w: R.Tensor((8, 4), "float32"), v: R.Tensor((8, 4), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.matmul(x, v)
            scaled = R.multiply(b, R.const(0.5))
            out = R.add(a, scaled)
            R.output(out, scaled)
        return out, scaled


@I.ir_module
class Merged:
    @R.function
    def main(x: R.Tensor((2, 8), "float32"), w: R.Tensor((8, 4), "float32"), v: R.Tensor((8, 4), "float32")):
        with R.dataflow():
            both = R.matmul(x, R.concat((w, v), axis=1))
            a = R.strided_slice(both, axes=[1], begin=[0], end=[4])
            b = R.strided_slice(both, axes=[1], begin=[4], end=[8])
            scaled = R.multiply(b, R.const(0.5))
            out = R.add(a, scaled)
            R.output(out, scaled)
        return out, scaled


@I.ir_module
class Wrong:
    @R.function
    def main(x: R.Tensor((2, 8), "float32"), w: R.Tensor((8, 4), "float32"), v: R.Tensor((8, 4), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.matmul(x, v)
            scaled = R.multiply(b, R.const(0.501))
            out = R.add(a, scaled)
            R.output(out, scaled)
        return out, scaled


def function(build, *types, attrs=None, name="main"):
    """A module with one function; ``build(builder, *params)`` gives its value."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"p{i}", relax.TensorType(*t) if isinstance(t, tuple) else t) for i, t in enumerate(types)]
    with builder.function(name, params, attrs=attrs or {}):
        with builder.dataflow():
            out = builder.emit_output(build(builder, *params))
        builder.emit_func_output(out)
    return builder.get()


def test_equivalent_modules_agree():
    run = compare_modules(Separate, Merged, TARGET)
    assert (run.functions, run.outputs, run.skipped) == (1, 2, ())
    assert 0 <= run.max_rel < 1e-5
    assert "2 outputs of 1 functions agree" in str(run)


def test_a_difference_names_the_first_variable():
    with pytest.raises(VerificationError, match="first value that differs is scaled, after b"):
        compare_modules(Separate, Wrong, TARGET)


def test_the_tolerance_is_relative_to_the_scale():
    compare_modules(Separate, Wrong, TARGET, rtol=1e-2)
    with pytest.raises(VerificationError, match="allowed 1e-05"):
        compare_modules(Separate, Wrong, TARGET, rtol=1e-5)


def test_reassociation_in_half_precision_is_tolerated_and_a_wrong_factor_is_not():
    ty = ((64, 256), "float16"), ((256, 32), "float16"), ((32, 16), "float16")
    left = function(lambda b, x, w, v: R.matmul(b.emit(R.matmul(x, w)), v), *ty)
    right = function(lambda b, x, w, v: R.matmul(x, b.emit(R.matmul(w, v))), *ty)
    wrong = function(lambda b, x, w, v: R.matmul(b.emit(R.matmul(x, b.emit(R.add(w, w)))), v), *ty)
    assert compare_modules(left, right, TARGET).max_rel > 1e-4
    with pytest.raises(VerificationError):
        compare_modules(left, wrong, TARGET)


def test_integers_must_agree_exactly():
    one = function(lambda b, x: R.add(x, relax.const(1, "int32")), ((4,), "int32"))
    two = function(lambda b, x: R.add(x, relax.const(2, "int32")), ((4,), "int32"))
    compare_modules(one, one, TARGET)
    with pytest.raises(VerificationError):
        compare_modules(one, two, TARGET)


def test_equal_infinities_and_nans_agree_and_different_ones_do_not():
    def zero(b, x):
        return b.emit(R.subtract(x, x))

    nan = function(lambda b, x: R.divide(zero(b, x), zero(b, x)), ((4,), "float32"))
    infinite = function(lambda b, x: R.divide(x, zero(b, x)), ((4,), "float32"))
    assert compare_modules(nan, nan, TARGET).max_abs == 0
    assert compare_modules(infinite, infinite, TARGET).max_abs == 0
    with pytest.raises(VerificationError):
        compare_modules(nan, infinite, TARGET)


def test_symbolic_dimensions_get_values():
    n = tvm.tirx.Var("n", "int64")
    build = [lambda b, x, y: R.add(x, y), lambda b, x, y: R.add(y, x)]
    mods = [function(f, ((n, 4), "float32"), ((n, 4), "float32")) for f in build]
    assert compare_modules(*mods, TARGET).outputs == 1


def test_tuples_go_in_and_out():
    ty = relax.TupleType([relax.TensorType((2, 2), "float32"), relax.TensorType((2,), "float32")])

    def build(b, t):
        x, y = b.emit(relax.TupleGetItem(t, 0)), b.emit(relax.TupleGetItem(t, 1))
        return relax.Tuple([R.add(x, y), relax.Tuple([R.exp(y)])])

    assert compare_modules(function(build, ty), function(build, ty), TARGET).outputs == 2


def test_a_function_without_possible_arguments_is_reported():
    mod = function(lambda b, x: relax.Tuple([x]), relax.ObjectType())
    run = compare_modules(mod, mod, TARGET)
    assert run.functions == 0 and run.skipped == ("main",)
    assert "not run: main" in str(run)


def test_a_missing_function_is_an_error():
    with pytest.raises(VerificationError, match="function main is missing"):
        compare_modules(Separate, function(lambda b, x: R.exp(x), ((4,), "float32"), name="other"), TARGET)


def test_a_module_that_does_not_run_is_an_error():
    def call(b, x, w, v):
        missing, out = relax.ExternFunc("tvm_eqsat.test.no_such_function"), relax.TensorType((2, 8), "float32")
        return relax.Call(tvm.ir.Op.get("relax.call_dps_packed"), [missing, relax.Tuple([x])], ty_args=[out])

    bad = function(call, ((2, 8), "float32"), ((8, 4), "float32"), ((8, 4), "float32"))
    with pytest.raises(VerificationError, match="rewritten module doesn't"):
        compare_modules(Separate, bad, TARGET)


def test_a_foreign_target_is_verified_on_the_host():
    foreign = Target({"kind": "llvm", "mtriple": "riscv64-unknown-linux-gnu", "num-cores": 1})
    assert compare_modules(Separate, Merged, foreign).outputs == 2


def test_deep_networks_with_weights_as_parameters_stay_in_range():
    def deep(b, x, *weights):
        for w in weights:
            x = b.emit(R.nn.relu(b.emit(R.matmul(x, w))))
        return x

    mod = function(deep, ((4, 256), "float32"), *[((256, 256), "float32")] * 12, attrs={"num_input": 1})
    run = compare_modules(mod, mod, TARGET)
    assert run.outputs == 1 and np.isfinite(run.max_abs)
    # without scaling, twelve layers of 256 terms would overflow the scale that makes differences visible
    from tvm_eqsat.verify.inputs import random_arguments

    x, *weights = [a.numpy() for a in random_arguments(mod["main"], 0)]
    for w in weights:
        x = np.maximum(x @ w, 0)
    assert 1e-4 < np.abs(x).max() < 1e4
