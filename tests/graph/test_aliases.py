"""Reading Relax calls that are spelt otherwise than the table would, and calls that it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from tvm_eqsat.graph.ops import BY_RELAX_NAME, OPERATORS, READERS, read_alias

op = relax.op


def var(*shape: Any, dtype: str = "float32") -> relax.Var:
    return relax.Var("x", relax.TensorType(shape, dtype))


X = var(2, 1, 5, 6)
ALIASES = {
    "squeeze": op.squeeze(X),
    "squeeze an axis": op.squeeze(X, -3),
    "squeeze what isn't 1": op.squeeze(X, [1, 2]),
    "expand_dims": op.expand_dims(X, [0, -1]),
    "expand_dims in the middle": op.expand_dims(X, 2),
    "flatten": op.flatten(X),
    "batch_flatten": op.nn.batch_flatten(X),
    "strided_slice": op.strided_slice(X, [2, -1], [1, 0], [4, 6], [2, 4]),
    "strided_slice from the end": op.strided_slice(X, [3, 2], [-5, -2], [-1, 100]),
    "strided_slice of everything": op.strided_slice(X, [0, 1], [0, 0], [2, 1]),
    "strided_slice in bounds": op.strided_slice(X, [3, 0], [1, 1], [5, 2], assume_inbound=True),
    "split": op.split(X, 3, 3),
    "split unevenly": op.split(X, 3, -2),
    "split at": op.split(X, [1, 4], 3),
    "split in one": op.split(X, 1, 3),
    "layout_transform": op.layout_transform(X, lambda n, c, h, w: (w // 4, c, n * 5 + h, w % 4), 7.0),
    "layout_transform to itself": op.layout_transform(X, lambda n, c, h, w: (n + c, c, h, w)),
}


@pytest.fixture(scope="module")
def machine() -> relax.VirtualMachine:
    bb = relax.BlockBuilder()
    for name, call in ALIASES.items():
        with bb.function(name, [X]):
            with bb.dataflow():
                result = bb.emit_output(call)
            bb.emit_func_output(result)
    return relax.VirtualMachine(tvm.compile(bb.get(), tvm.target.Target("llvm")), tvm.cpu())


@pytest.mark.parametrize("name", ALIASES)
def test_alias_means_what_tvm_computes(name: str, machine: relax.VirtualMachine) -> None:
    chains = read_alias(ALIASES[name])
    assert chains is not None
    x = np.arange(60, dtype="float32").reshape(2, 1, 5, 6)
    got = machine[name](tvm.runtime.tensor(x))
    fields = [got] if isinstance(got, tvm.runtime.Tensor) else list(got)
    assert len(fields) == len(chains)
    for chain, field in zip(chains, fields, strict=True):
        value = x
        for operator, attrs in chain:
            value = OPERATORS[operator].numpy([value], attrs)
        np.testing.assert_array_equal(value, field.numpy())


def test_aliases_are_canonical() -> None:
    """One meaning, one chain: nothing is applied that does nothing."""
    assert read_alias(ALIASES["squeeze what isn't 1"]) == read_alias(ALIASES["squeeze"])
    assert read_alias(ALIASES["strided_slice of everything"]) == [[]]
    assert read_alias(op.expand_dims(X, [])) == [[]]
    slices = OPERATORS["slice"]
    assert read_alias(ALIASES["strided_slice"]) == [
        [
            ("slice", slices.make_attrs(axis=2, begin=1, end=4, stride=2)),
            ("slice", slices.make_attrs(axis=3, begin=0, end=5, stride=4)),
        ]
    ]
    assert slices.read(op.strided_slice(X, [3], [-5], [-1])) == ([X], (3, 1, 5, 1))


def test_every_alias_is_tested() -> None:
    assert set(READERS) <= {call.op.name for call in ALIASES.values()}


def test_zeros_and_ones_are_full() -> None:
    full = OPERATORS["full"]
    for call, value in ((op.zeros((2, 3), "int32"), 0), (op.ones((2, 3), "int32"), 1)):
        assert BY_RELAX_NAME[call.op.name] is full
        assert full.read(call) == ([], full.make_attrs(value=value, shape=(2, 3), dtype="int32"))
    # The filling is read as the number that the tensor holds.
    _, attrs = full.read(op.full((2,), relax.const(2.7, "float32"), "int32"))  # type: ignore[misc]
    assert attrs == full.make_attrs(value=2, shape=(2,), dtype="int32")


SAME = {
    "default axes of permute_dims are reversed": (op.permute_dims(X), op.permute_dims(X, [3, 2, 1, 0])),
    "negative axes": (op.sum(X, [-1, 0]), op.sum(X, [0, 3])),
    "no axes are all axes": (op.mean(X), op.mean(X, [0, 1, 2, 3])),
    "concat without axis": (op.concat([var(3)], None), op.concat([var(3)], 0)),
    "out_dtype that is implied": (op.matmul(X, X, "float32"), op.matmul(X, X)),
    "padding on two sides": (
        op.nn.conv2d(X, X, padding=[1, 2]),
        op.nn.conv2d(X, X, padding=[1, 2, 1, 2], out_dtype="float32"),
    ),
    "the rounding that an empty one stands for": (
        op.image.resize2d(X, (3, 3), method="nearest_neighbor", rounding_method=""),
        op.image.resize2d(X, (3, 3), method="nearest_neighbor", rounding_method="floor"),
    ),
    "clip bounds of the operand's kind": (op.clip(X, 0, 6), op.clip(X, 0.0, 6.0)),
    "reshape with an inferred dimension": (op.reshape(X, (-1, 6)), op.reshape(X, (10, 6))),
    "output size that is the input's": (op.nn.adaptive_avg_pool2d(X), op.nn.adaptive_avg_pool2d(X, (5, 6))),
}


@pytest.mark.parametrize("name", SAME)
def test_equal_calls_have_equal_attributes(name: str) -> None:
    a, b = SAME[name]
    record = BY_RELAX_NAME[a.op.name]
    first, second = record.read(a), record.read(b)
    assert first is not None and second is not None
    assert first[1] == second[1]


N = tirx.Var("n", "int64")
UNKNOWN = relax.Var("u", relax.TensorType(dtype="float32", ndim=-1))
RANK_2 = relax.Var("v", relax.TensorType(dtype="float32", ndim=2))
C = var(1)
NORM = {"axes": [1], "epsilon": 1e-5}
LEFT_ALONE = {
    "training": op.nn.batch_norm(X, C, C, C, C, axis=1, training=True),
    "layer_norm that isn't what TVM lowers": op.nn.layer_norm(X, C, C, **NORM, center=False),
    "group_norm that isn't what TVM lowers": op.nn.group_norm(X, C, C, 1, 1, [2], scale=False),
    "layer_norm with axes out of order": op.nn.layer_norm(X, var(6, 5), var(6, 5), axes=[3, 2]),
    "convolution into another layout": op.nn.conv2d(X, X, out_layout="NHWC"),
    "convolution in blocks": op.nn.conv2d(X, X, data_layout="NCHW4c", kernel_layout="OIHW4o"),
    "transposed convolution that TVM can't lower": op.nn.conv2d_transpose(X, X, data_layout="NHWC"),
    "pooling into another layout": op.nn.max_pool2d(X, out_layout="NHWC"),
    "padding in a mode of unknown name": op.nn.pad(X, [0] * 8, "edge"),
    "bicubic": op.image.resize2d(X, (3, 3), method="cubic"),
    "cropping": op.image.resize2d(X, (3, 3), coordinate_transformation_mode="tf_crop_and_resize"),
    "resizing into another dtype": op.image.resize2d(X, (3, 3), out_dtype="float16"),
    "taking nan": op.take(X, relax.const([0]), 1, mode="nan"),
    "taking one by a scalar": op.take(X, tirx.IntImm("int64", 0), 1),
    "no axes at all": op.sum(X, []),
    "reduction of unknown rank": op.sum(UNKNOWN),
    "softmax of unknown rank": op.nn.softmax(UNKNOWN),
    "transposition of unknown rank": op.permute_dims(UNKNOWN),
    "a scalar operand": op.add(X, tirx.FloatImm("float32", 1.0)),
    "symbolic target": op.reshape(var(N, 4), relax.ShapeExpr([4, N])),
    "target shape in a variable": op.reshape(X, relax.Var("s", relax.ShapeType(ndim=2))),
    "filling with a variable": op.full((2,), var(), "float32"),
    "concat of a tuple variable": op.concat(relax.Var("t", relax.TupleType([X.ty, X.ty])), 0),
    "slice of a symbolic axis": op.strided_slice(var(N), [0], [1], [2]),
    "slice up to a symbol": op.strided_slice(X, [0], [0], [N]),
    "backward slice": op.strided_slice(X, [3], [4], [0], [-1]),
    "empty slice": op.strided_slice(X, [3], [4], [4]),
    "slice out of promised bounds": op.strided_slice(X, [3], [-2], [6], assume_inbound=True),
    "split with an empty part": op.split(X, [2, 2], 3),
    "split of a symbolic axis": op.split(var(N), 2, 0),
    "split of unknown shape": op.split(RANK_2, 2, 0),
    "squeeze of unknown shape": op.squeeze(RANK_2),
    "flatten of a symbolic shape": op.flatten(var(N, 4)),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name: str) -> None:
    call = LEFT_ALONE[name]
    record = BY_RELAX_NAME.get(call.op.name)
    assert record is None or record.read(call) is None
    assert read_alias(call) is None


@pytest.mark.parametrize("name", [*BY_RELAX_NAME, *READERS])
def test_odd_calls_are_not_read(name: str) -> None:
    """Readers answer None, and don't raise, whatever the arguments are."""
    scalar, shape = tirx.IntImm("int64", 1), relax.ShapeExpr([2])
    odd: list[Any] = [scalar, shape, relax.Tuple([]), relax.Tuple([scalar]), UNKNOWN, relax.Var("o", relax.AnyType())]
    for count in range(7):
        for argument in odd:
            call = relax.Call(tvm.ir.Op.get(name), [argument] * count)
            found = BY_RELAX_NAME[name].read(call) if name in BY_RELAX_NAME else None
            # Without attributes, only operators that have none can be read, and only with what may be a tensor.
            assert found is None or (argument in odd[-2:] and not found[1])
            assert read_alias(call) is None
