"""Before and after: what the pass makes of small programs, as structural equality."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_eqsat.verify.module import compare_modules

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})


def optimized(mod: tvm.IRModule, **options: object) -> tvm.IRModule:
    """The pass's result, which must compute the same."""
    found = relax.transform.EqSatOptimize(target=TARGET, **options)(mod)
    if not found.same_as(mod):
        compare_modules(mod, found, TARGET, seed=0)
    return found


def operators(mod: tvm.IRModule) -> list[str]:
    """Names of the Relax operators of ``main``, in program order."""
    found = []
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call) and isinstance(binding.value.op, tvm.ir.Op):
                found.append(binding.value.op.name.removeprefix("relax."))
    return found


def test_onnx_sum_becomes_an_addition_that_fuses() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(
            x: R.Tensor((256, 64), "float32"), w: R.Tensor((64, 256), "float32"), y: R.Tensor((256, 256), "float32")
        ) -> R.Tensor((256, 256), "float32"):
            with R.dataflow():
                product: R.Tensor((256, 256), "float32") = R.matmul(x, w)
                both: R.Tensor((2, 256, 256), "float32") = R.stack((product, y), axis=0)
                out: R.Tensor((256, 256), "float32") = R.sum(both, axis=[0], keepdims=False)
                R.output(out)
            return out

    @I.ir_module
    class Expected:
        @R.function
        def main(
            x: R.Tensor((256, 64), "float32"), w: R.Tensor((64, 256), "float32"), y: R.Tensor((256, 256), "float32")
        ) -> R.Tensor((256, 256), "float32"):
            with R.dataflow():
                product: R.Tensor((256, 256), "float32") = R.matmul(x, w)
                out: R.Tensor((256, 256), "float32") = R.add(product, y)
                R.output(out)
            return out

    assert_structural_equal(optimized(Before), Expected)


def test_matmul_chain_is_reassociated() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(
            x: R.Tensor((256, 8), "float32"), y: R.Tensor((8, 256), "float32"), z: R.Tensor((256, 8), "float32")
        ) -> R.Tensor((256, 8), "float32"):
            with R.dataflow():
                big: R.Tensor((256, 256), "float32") = R.matmul(x, y)
                out: R.Tensor((256, 8), "float32") = R.matmul(big, z)
                R.output(out)
            return out

    @I.ir_module
    class Expected:
        @R.function
        def main(
            x: R.Tensor((256, 8), "float32"), y: R.Tensor((8, 256), "float32"), z: R.Tensor((256, 8), "float32")
        ) -> R.Tensor((256, 8), "float32"):
            with R.dataflow():
                lv: R.Tensor((8, 8), "float32") = R.matmul(y, z)
                out: R.Tensor((256, 8), "float32") = R.matmul(x, lv)
                R.output(out)
            return out

    assert_structural_equal(optimized(Before), Expected)


def test_a_common_matmul_operand_is_factored_out() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(
            x: R.Tensor((64, 64), "float32"), y: R.Tensor((64, 64), "float32"), w: R.Tensor((64, 64), "float32")
        ) -> R.Tensor((64, 64), "float32"):
            with R.dataflow():
                a: R.Tensor((64, 64), "float32") = R.matmul(x, w)
                b: R.Tensor((64, 64), "float32") = R.matmul(y, w)
                out: R.Tensor((64, 64), "float32") = R.add(a, b)
                R.output(out)
            return out

    assert operators(optimized(Before)).count("matmul") == 1


def build(shapes: dict[str, tuple[int, ...]], body: Callable[..., relax.Expr]) -> tvm.IRModule:
    """A module whose ``main`` computes ``body(constant, *inputs)``; ``constant(*shape)`` makes random weights."""
    rng = np.random.default_rng(0)
    inputs = [relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in shapes.items()]

    def constant(*shape: int, positive: bool = False) -> relax.Expr:
        value = rng.standard_normal(shape).astype("float32")
        return relax.const(np.abs(value) + 0.5 if positive else value)

    builder = relax.BlockBuilder()
    with builder.function("main", inputs):
        with builder.dataflow():
            out = builder.emit_output(builder.normalize(body(lambda e: builder.emit(e), constant, *inputs)))
        builder.emit_func_output(out)
    return builder.get()


def test_batch_norm_folds_into_the_convolution() -> None:
    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        conv = emit(relax.op.nn.conv2d(x, constant(32, 16, 5, 5), padding=2))
        parameters = [constant(32), constant(32), constant(32), constant(32, positive=True)]
        norm = emit(relax.op.nn.batch_norm(conv, *parameters, axis=1, training=False))
        active = emit(relax.op.nn.relu(emit(norm[0])))
        return relax.op.nn.conv2d(active, constant(32, 32, 5, 5), padding=2)

    found = operators(optimized(build({"x": (1, 16, 28, 28)}, body)))
    assert "nn.batch_norm" not in found
    assert "multiply" not in found
    assert found.count("nn.conv2d") == 2
    assert found.count("add") == 1


def test_q_k_v_share_one_matmul() -> None:
    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        q, k, v = (emit(relax.op.matmul(x, constant(64, 64))) for _ in range(3))
        q, k, v = (emit(relax.op.nn.relu(t)) for t in (q, k, v))
        return relax.op.add(emit(relax.op.add(q, k)), v)

    assert operators(optimized(build({"x": (4, 64)}, body))).count("matmul") == 1


def test_scales_and_biases_fold_into_weights() -> None:
    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        product = emit(relax.op.matmul(x, constant(64, 32)))
        scaled = emit(relax.op.multiply(product, constant(32)))
        return relax.op.add(emit(relax.op.add(scaled, constant(32))), constant(32))

    assert operators(optimized(build({"x": (16, 64)}, body))) == ["matmul", "add"]


def test_lrn_power_becomes_square_roots() -> None:
    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        square = emit(relax.op.add(emit(relax.op.square(x)), relax.const(1.0, "float32")))
        return relax.op.power(square, relax.const(0.75, "float32"))

    found = operators(optimized(build({"x": (64, 64)}, body)))
    assert "power" not in found
    assert found.count("sqrt") == 2


def test_padding_goes_into_the_convolution() -> None:
    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        padded = emit(relax.op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1]))
        return relax.op.nn.conv2d(padded, constant(16, 16, 3, 3))

    assert "nn.pad" not in operators(optimized(build({"x": (1, 16, 28, 28)}, body)))


def test_transposed_weights_of_parameters_lift_out() -> None:
    """What depends on weights alone ends up where LiftTransformParams finds it."""

    @I.ir_module
    class Before:
        @R.function
        def main(
            x: R.Tensor((32, 64), "float32"), w: R.Tensor((64, 48), "float32"), s: R.Tensor((48,), "float32")
        ) -> R.Tensor((32, 48), "float32"):
            R.func_attr({"num_input": 1})
            with R.dataflow():
                y: R.Tensor((32, 48), "float32") = R.matmul(x, w)
                out: R.Tensor((32, 48), "float32") = R.multiply(y, s)
                R.output(out)
            return out

    found = optimized(Before)
    assert operators(found)[-1] == "matmul"
    lifted = relax.transform.LiftTransformParams()(found)
    assert [name for name in operators(lifted) if name != "memory"] == ["matmul"]


def test_signature_attributes_and_names_stay() -> None:
    @I.ir_module
    class Before:
        I.module_attrs({"note": "kept"})

        @R.function
        def main(image: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
            R.func_attr({"purpose": "test"})
            with R.dataflow():
                flipped: R.Tensor((128, 64), "float32") = R.permute_dims(image, axes=[1, 0])
                back: R.Tensor((64, 128), "float32") = R.permute_dims(flipped, axes=[1, 0])
                answer: R.Tensor((64, 128), "float32") = R.nn.softmax(back)
                R.output(answer)
            return answer

    found = optimized(Before)
    function = found["main"]
    assert [p.name for p in function.params] == ["image"]
    assert function.attrs["purpose"] == "test"
    assert found.attrs["note"] == "kept"
    assert [b.var.name for b in function.body.blocks[0].bindings] == ["answer"]


def test_what_it_cannot_read_stays() -> None:
    """An operator outside of the table, in the middle of what can be improved."""

    def body(emit: Any, constant: Any, x: relax.Var) -> relax.Expr:
        turned = emit(relax.op.permute_dims(emit(relax.op.permute_dims(x, [1, 0])), [1, 0]))
        summed = emit(relax.op.cumsum(turned, axis=1))
        return relax.op.permute_dims(emit(relax.op.permute_dims(summed, [1, 0])), [1, 0])

    mod = build({"x": (64, 64)}, body)
    optimize = relax.transform.EqSatOptimize(target=TARGET)
    assert operators(optimize(mod)) == ["cumsum"]
    assert optimize.report.regions[0].opaque == 1
    compare_modules(mod, optimize(mod), TARGET, seed=0)


def test_two_processes_give_the_same_module(tmp_path: Path) -> None:
    code = (
        "import sys, onnx, tvm\n"
        "from tvm import relax\n"
        "from tvm.relax.frontend.onnx import from_onnx\n"
        "from examples.models import build\n"
        "import tvm_eqsat\n"
        "mod = from_onnx(build('squeezenet'))\n"
        "open(sys.argv[1], 'w').write(relax.transform.EqSatOptimize(target={'kind': 'llvm', 'num-cores': 2},"
        " node_limit=1500)(mod).script(show_meta=True))\n"
    )
    texts = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.py"
        env = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=env, cwd=root, capture_output=True)
        texts.append(path.read_text())
    assert texts[0] == texts[1]
