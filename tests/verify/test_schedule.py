"""The quick loop order."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op
from tvm.relax.backend.cpu_generic.pipeline import legalize_passes

from tests.cost.builders import TARGET, conv, module
from tvm_eqsat.verify.module import compare_modules
from tvm_eqsat.verify.schedule import ReductionsOutside

HOST = tvm.target.Target({"kind": "llvm", "num-cores": 1})


def lowered(mod):
    with TARGET:
        return tvm.transform.Sequential(legalize_passes(TARGET))(mod)


@pytest.mark.parametrize(
    "mod",
    [
        module(lambda e, x, w: e(op.nn.relu(conv(e, x, w, strides=2))), (1, 3, 9, 9), (4, 3, 3, 3)),
        module(lambda e, x, w: e(op.matmul(x, w)), (2, 5, 7), (7, 3)),
        module(lambda e, x, w: e(op.matmul(x, w)), (7,), (7,)),
        module(lambda e, x: e(op.nn.softmax(x)), (5, 6)),
        module(lambda e, x: e(op.sum(x)), (5, 6)),
        module(lambda e, x: e(op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1))), (1, 2, 9, 9)),
        module(lambda e, x: e(op.argmax(x, 1)), (5, 6)),
        module(lambda e, x: e(op.nn.layer_norm(x, x, x, axes=[0])), (6,)),
        module(lambda e, x, w: e(op.matmul(x, w)), (tvm.tirx.Var("n", "int64"), 4), (4, 3)),
    ],
)
def test_results_stay_the_same(mod):
    """Against TVM's own build, which keeps the loops as they are."""
    from tvm_eqsat.verify.inputs import random_arguments

    args = random_arguments(mod["main"], 0)
    plain = relax.VirtualMachine(tvm.compile(mod, HOST), tvm.cpu())["main"](*args).numpy()
    with HOST:
        quick = tvm.transform.Sequential([*legalize_passes(HOST), ReductionsOutside()])(mod)
    found = relax.VirtualMachine(tvm.compile(quick, HOST), tvm.cpu())["main"](*args).numpy()
    np.testing.assert_allclose(found, plain, rtol=1e-5)
    compare_modules(mod, mod, HOST)


def test_the_spatial_loop_becomes_the_innermost():
    before = lowered(module(lambda e, x, w: e(op.matmul(x, w)), (5, 7), (7, 3)))
    text = ReductionsOutside()(before)["matmul"].script()
    assert "k, i1 in T.grid" in text
    assert "matmul_init" in text and "matmul_init" not in before["matmul"].script()


def test_other_functions_and_attributes_are_kept():
    before = lowered(module(lambda e, x: e(op.nn.relu(x)), (5, 7)))
    after = ReductionsOutside()(before)
    tvm.ir.assert_structural_equal(after, before)
