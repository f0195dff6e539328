"""Kernels of a module: what TVM itself would run."""

from __future__ import annotations

import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import op
from tvm.s_tir import meta_schedule as ms
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.target import Target

from tests.cost.builders import TARGET, constant, conv, module
from tvm_eqsat.cost import legalize, lower
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.roofline import Kind

X, W = (1, 16, 8, 8), (16, 16, 3, 3)


def reference(mod, target=TARGET):
    """Hash and number of calls of each task that MetaSchedule would tune after TVM's own pipeline."""
    with target:
        lowered = tvm.transform.Sequential(
            [
                *relax.pipeline.library_dispatch_passes(target),
                *relax.pipeline.legalize_passes(target),
                relax.transform.RewriteDataflowReshape(),
            ]
        )(mod)
    tasks = ms.relax_integration.extract_tasks(lowered, target)
    return sorted((tvm_ffi.StructuralKey(t.dispatched[0]).hash_i64 & (2**64 - 1), int(t.weight)) for t in tasks)


def found(mod, target=TARGET, *, prepack=False):
    return sorted((k.hash, k.count) for k in kernels(mod, target, prepack=prepack))


def block(e, x, *weights):
    for w in weights:
        x = e(op.nn.relu(e(op.add(conv(e, x, w), constant(1, 16, 1, 1)))))
    return x


MODULES = {
    "convolutions": lambda: module(block, X, W, W),
    "constant weights": lambda: module(lambda e, x: block(e, x, constant(*W), constant(*W)), X),
    "unfolded constants": lambda: module(
        lambda e, x: e(op.add(x, e(op.broadcast_to(e(op.multiply(constant(16, 1, 1), constant(16, 1, 1))), X)))), X
    ),
    "dropout, and folded weights": lambda: module(
        lambda e, x: conv(
            e, e(relax.TupleGetItem(e(op.nn.dropout(e(op.nn.relu(x)))), 0)), e(op.multiply(constant(*W), constant(*W)))
        ),
        X,
    ),
    "scalar constant": lambda: module(lambda e, x: e(op.multiply(x, relax.const(2.0))), X),
    "folded scalar": lambda: module(
        lambda e, x: e(op.multiply(x, e(op.add(relax.const(2.0), relax.const(1.0))))), X
    ),
    "attention": lambda: module(
        lambda e, x, w, v: e(op.nn.softmax(e(op.matmul(e(op.matmul(x, w)), e(op.permute_dims(e(op.matmul(x, v)))))))),
        (32, 64), (64, 64), (64, 64),
    ),
    "batch norm": lambda: module(
        lambda e, x: e(relax.TupleGetItem(e(op.nn.batch_norm(x, *[constant(16)] * 4, axis=1, training=False)), 0)), X
    ),
    "split": lambda: module(lambda e, x: e(op.split(x, 2, 1)), X),
    "symbolic": lambda: module(lambda e, x, w: e(op.matmul(x, w)), (tvm.tirx.Var("n", "int64"), 16), (16, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_kernels_are_those_of_tvms_pipeline(name):
    mod = MODULES[name]()
    expected = reference(mod)
    assert expected
    legalize._memory.clear()
    assert found(mod) == expected
    assert found(mod) == expected  # from memory


@pytest.mark.parametrize("prepack", [False, True], ids=["", "prepack"])
@pytest.mark.parametrize("name", ["convolutions", "constant weights", "attention", "split"])
def test_what_was_seen_before_is_only_recognised(name, prepack, monkeypatch):
    expected = found(MODULES[name](), prepack=prepack)
    monkeypatch.setattr(lower, "alone", None)
    monkeypatch.setattr(legalize.Legalization, "of_others", None)
    assert found(MODULES[name](), prepack=prepack) == expected


def test_operators_in_branches_are_lowered_too():
    @I.ir_module
    class Branches:
        @R.function
        def main(c: R.Tensor((), "bool"), x: R.Tensor((4, 8), "float32")) -> R.Tensor((4, 8), "float32"):
            y: R.Tensor((4, 8), "float32") = R.exp(x)
            if c:
                z: R.Tensor((4, 8), "float32") = R.tanh(y)
            else:
                z: R.Tensor((4, 8), "float32") = R.sigmoid(y)
            return z

    for _ in range(2):
        lowered = kernels(Branches, TARGET)
        assert sorted(k.name for k in lowered) == ["tir_exp", "tir_sigmoid", "tir_tanh"]
        assert all(k.mod is not None for k in lowered)


def test_kernels_whose_weights_are_activations_elsewhere_are_told_apart():
    def build(e, x, w):
        return e(op.concat([conv(e, x, w), conv(e, x, constant(*W))], 1))

    mod = module(build, X, W)
    assert found(mod, prepack=True) == prepacked(mod)
    marks = [list(k.mod["main"].attrs["layout_free_buffers"]) for k in kernels(mod, TARGET, prepack=True)]
    assert sorted(map(len, marks)) == [0, 0, 1]


def test_equal_kernels_are_counted_once():
    (kernel,) = kernels(module(block, X, W, W, W), TARGET)
    assert kernel.count == 3 and kernel.name.startswith("fused_conv2d")


def test_weights_that_are_parameters_are_prepared_before_the_first_run():
    def build(e, x, w, v):
        return e(op.matmul(x, e(op.concat([w, v], 1))))

    shapes = (8, 16), (16, 4), (16, 4)
    assert [k.name for k in kernels(module(build, *shapes), TARGET)] == ["concatenate", "matmul"]
    assert [k.name for k in kernels(module(build, *shapes, num_input=1), TARGET)] == ["matmul"]


def test_a_reshape_alone_is_a_view():
    mod = module(lambda e, x, w: e(op.matmul(e(op.reshape(e(op.matmul(x, w)), (2, 4, 16))), w)), (8, 16), (16, 16))
    assert [k.work.kind for k in kernels(mod, TARGET)] == [Kind.DENSE] * 2


def test_calls_of_foreign_code_are_listed():
    def build(e, x):
        out = relax.TensorType((4,), "float32")
        for name in ("lib.f", "lib.g", "lib.f"):
            x = e(relax.op.call_dps_packed(name, relax.Tuple([x]), out))
        return x

    assert {k.name: (k.count, k.mod) for k in kernels(module(build, (4,)), TARGET)} == {
        "lib.f": (2, None),
        "lib.g": (1, None),
    }


def test_foreign_code_is_called_even_on_constants():
    def build(e, x):
        y = e(relax.op.call_dps_packed("lib.f", relax.Tuple([constant(4)]), relax.TensorType((4,), "float32")))
        return e(op.add(x, y))

    assert [k.name for k in kernels(module(build, (4,)), TARGET)] == ["add", "lib.f"]


def test_the_module_is_left_alone():
    mod = MODULES["unfolded constants"]()
    before = tvm_ffi.structural_hash(mod)
    kernels(mod, TARGET)
    assert tvm_ffi.structural_hash(mod) == before


def test_a_gpu_target_is_lowered_to_the_same_operators():
    cuda = Target("cuda")
    assert [k.name for k in kernels(MODULES["convolutions"](), cuda)] == ["fused_conv2d_add_relu"]


def test_memory_distinguishes_attributes_and_scalar_values():
    def scaled(value):
        return module(lambda e, x: e(op.multiply(x, relax.const(value))), X)

    def pooled(size):
        return module(lambda e, x: e(op.nn.max_pool2d(x, (size, size), strides=(1, 1), padding=size // 2)), X)

    assert found(scaled(2.0)) != found(scaled(3.0))
    assert found(pooled(3)) != found(pooled(5))
    assert found(pooled(3)) == reference(pooled(3)) and found(pooled(5)) == reference(pooled(5))


def test_memory_distinguishes_operand_order():
    """``subtract(x, y)`` and ``subtract(y, x)`` of the same types are one kernel with other arguments."""
    mods = [
        module(lambda e, x, y: e(op.subtract(e(op.exp(x)), y)), X, X),
        module(lambda e, x, y: e(op.subtract(y, e(op.exp(x)))), X, X),
        module(lambda e, x, y: e(op.subtract(e(op.exp(x)), e(op.exp(x)))), X, X),
    ]
    for mod in mods:
        assert found(mod) == reference(mod)


# -- weight prepacking -----------------------------------------------------------------------------------------------


def free(mod):
    """Names of kernels, and which of their operands may change their layout."""
    return {
        k.name: tuple(map(int, k.mod["main"].attrs["layout_free_buffers"])) for k in kernels(mod, TARGET, prepack=True)
    }


def prepacked(mod):
    """As :func:`reference`, in TVM's pipeline with ``cpu_weight_prepack``."""
    passes = relax.transform
    with TARGET:
        steps = [passes.CanonicalizeBindings(), relax.get_pipeline("zero"), passes.AttachAttrLayoutFreeBuffers()]
        lowered = tvm.transform.Sequential([*steps, passes.RewriteDataflowReshape()])(mod)
    tasks = ms.relax_integration.extract_tasks(lowered, TARGET)
    return sorted((tvm_ffi.StructuralKey(t.dispatched[0]).hash_i64 & (2**64 - 1), int(t.weight)) for t in tasks)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "batch norm"])  # which its first pass takes apart
def test_kernels_with_free_layouts_are_those_of_tvms_pipeline(name):
    mod, expected = MODULES[name](), prepacked(MODULES[name]())
    legalize._memory.clear()
    assert found(mod, prepack=True) == expected
    assert found(mod, prepack=True) == expected  # from memory


def test_layouts_of_weights_are_free():
    def doubled(e, x, w):
        return e(op.matmul(x, e(op.add(w, w))))

    constants = module(lambda e, x: doubled(e, x, constant(16, 4)), (8, 16))
    assert free(constants) == {"matmul": (1,)}, "folded before TVM looks"
    shapes = (8, 16), (16, 4)
    assert free(module(lambda e, x, w: e(op.matmul(x, w)), *shapes, num_input=1)) == {"matmul": (1,)}
    assert free(module(lambda e, x, w: e(op.matmul(x, w)), *shapes)) == {"matmul": ()}
    assert free(module(doubled, *shapes, num_input=1)) == {"matmul": ()}, "lifted only after TVM looks"
