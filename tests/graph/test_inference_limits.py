"""What inference refuses, and what it makes of symbolic dimensions."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import relax, tirx

from tests.graph.operand_types import NAMES, cases
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.types import Symbol, TensorType
from tvm_eqsat.layout.index_map import IndexMap

F32, I32, BOOL = "float32", "int32", "bool"


def T(*shape: Any, dtype: str = F32) -> TensorType:
    return TensorType(shape, dtype)


N, M = (Symbol(tirx.Var(letter, "int64")) for letter in "nm")


def _wrong() -> dict[str, list[tuple[list[TensorType], dict[str, Any]]]]:
    """For each operator, uses that don't make sense: operand types and attributes."""
    unary_float = (
        "exp log sqrt rsqrt sigmoid tanh erf sin cos tan sinh cosh asin acos atan asinh acosh atanh floor ceil round"
        " trunc isnan isinf isfinite gelu gelu_tanh selu silu leaky_relu softplus"
    ).split()
    binary = (
        "add subtract multiply divide power maximum minimum floor_divide mod floor_mod equal not_equal less less_equal"
        " greater greater_equal"
    ).split()
    wrong: dict[str, list[tuple[list[TensorType], dict[str, Any]]]] = {
        **{name: [([T(2, dtype=I32)], {})] for name in unary_float},
        **{name: [([T(2, dtype=BOOL)], {})] for name in ("abs", "negative", "sign", "square", "relu")},
        "logical_not": [([T(2)], {})],
        "bitwise_not": [([T(2)], {})],
        "clip": [([T(2)], {"min": 2.0, "max": 1.0}), ([T(2, dtype=BOOL)], {"min": 0, "max": 1})],
        "cast": [([T(2)], {"dtype": "handle"})],
        **{name: [([T(2), T(3)], {}), ([T(2), T(2, dtype=I32)], {}), ([T(2, 3), T(2, 1, 4)], {})] for name in binary},
        **{f"logical_{name}": [([T(2), T(2)], {})] for name in ("and", "or", "xor")},
        **{f"bitwise_{name}": [([T(2), T(2)], {})] for name in ("and", "or", "xor")},
        "where": [([T(2), T(2), T(2)], {}), ([T(3, dtype=BOOL), T(2), T(2)], {})],
        "matmul": [
            ([T(2, 3), T(4, 5)], {}),
            ([T(), T(2, 3)], {}),
            ([T(2, 4, 3), T(3, 3, 5)], {}),
            ([T(2, 3), T(3, 2)], {"out_dtype": I32}),
            ([T(2, 3, dtype="float64"), T(3, 2, dtype="float64")], {"out_dtype": F32}),
        ],
        "layout_transform": [
            ([T(3, 4)], {"map": IndexMap.reorder((4, 3), (1, 0))}),
            ([T(N, 4)], {"map": IndexMap.reorder((3, 4), (1, 0))}),
        ],
        "conv2d_nchwc": [
            ([T(1, 2, 5, 5, 4), T(2, 3, 3, 3, 4, 8)], {}),
            ([T(1, 2, 5, 5, 4), T(2, 2, 3, 3, 2, 8)], {}),
            ([T(1, 2, 5, 5, 4), T(3, 1, 3, 3, 4, 8)], {"groups": 2}),
            ([T(1, 2, 2, 5, 4), T(2, 2, 3, 3, 4, 8)], {}),
            ([T(N, 2, 5, 5, 4), T(2, 2, 3, 3, 4, 8)], {}),
            ([T(1, 2, 5, 5, 4), T(2, 3, 3, 4)], {}),
        ],
        "depthwise_conv2d": [
            ([T(1, 2, 5, 5, 4), T(2, 3, 3, 8)], {}),
            ([T(1, 2, 5, 5, 4), T(2, 2, 3, 3, 4, 8)], {}),
        ],
        "winograd_weight": [
            ([T(3, 3, 4, 4)], {"tile": 3}),
            ([T(5, 3, 4, 4)], {"tile": 2}),
            ([T(3, 3, 4, 4, dtype="float16")], {"tile": 2}),
            ([T(3, 3, N, 4)], {"tile": 2}),
        ],
        "winograd_input": [
            ([T(1, 8, 8, 4)], {"tile": 6}),
            ([T(1, 8, 8, 4)], {"tile": 2, "padding": (-1, 0, 0, 0)}),
            ([T(1, 1, 8, 4)], {"tile": 2}),
            ([T(8, 8, 4)], {"tile": 2}),
        ],
        "winograd_output": [
            ([T(36, 4, 8)], {"tile": 2, "shape": (1, 4, 4)}),
            ([T(16, 4, 8)], {"tile": 2, "shape": (1, 5, 4)}),
            ([T(16, 4, 8)], {"tile": 2, "shape": (0, 4, 4)}),
        ],
        "matmul_panels": [
            ([T(4, 3), T(2, 4, 8)], {}),
            ([T(1, 4, 3), T(2, 3, 8)], {}),
            ([T(4, 3), T(3, 8)], {}),
            ([T(4, 3), T(2, 3, 8, dtype="float16")], {}),
            ([T(N, 3), T(2, 3, 8)], {}),
        ],
        "shifted_sum": [
            ([T(1, 5, 5, 3, 3)], {}),
            ([T(1, 2, 5, 3, 3, 4)], {}),
            ([T(1, 5, 5, 3, 3, 4)], {"strides": (0, 1)}),
            ([T(1, 5, 5, 3, 3, 4)], {"padding": (1, 1)}),
            ([T(N, 5, 5, 3, 3, 4)], {}),
        ],
        "resize2d": [([T(1, 3, 4)], {"size": (2, 2)}), ([T(1, 3, 4, 4)], {"size": (2, 2), "method": "cubic"})],
        "batch_norm": [([T(2, 3), *[T(2)] * 4], {"axis": 1}), ([T(2, 3), *[T(3)] * 4], {"axis": 2})],
        "layer_norm": [
            ([T(2, 3), T(2), T(2)], {"axes": (1,)}),
            ([T(2, 3), T(3, 2), T(3, 2)], {"axes": (1, 0)}),
            ([T(2, 3), T(3), T(3)], {"axes": (1,), "center": False}),
            ([T(2, 3, dtype=I32), *[T(3, dtype=I32)] * 2], {"axes": (1,)}),
        ],
        "rms_norm": [
            ([T(2, 3), T(2)], {"axes": (1,)}),
            ([T(2, 3), T(3)], {"axes": (2,)}),
            ([T(3), T(3)], {"axes": (0,)}),
        ],
        "group_norm": [
            ([T(2, 6, 4), T(6), T(6)], {"num_groups": 4, "channel_axis": 1, "axes": (2,)}),
            ([T(2, 6, 4), T(6), T(6)], {"num_groups": 2, "channel_axis": 1, "axes": (1, 2)}),
        ],
        "instance_norm": [([T(2, 6, 4), T(4), T(4)], {"channel_axis": 1, "axes": (2,)})],
        **{name: [([T(2, 3)], {"axis": 2}), ([T(2, dtype=I32)], {"axis": 0})] for name in ("softmax", "log_softmax")},
        "pad": [
            ([T(2, 3)], {"pad_width": (1, 1)}),
            ([T(2)], {"pad_width": (-1, 0)}),
            ([T(2)], {"pad_width": (2, 0), "mode": "reflect"}),
            ([T(2)], {"pad_width": (0, 3), "mode": "circular"}),
            ([T(2)], {"pad_width": (1, 0), "mode": "symmetric"}),
        ],
        "concat": [([T(2, 3), T(3, 3)], {"axis": 1}), ([T(2), T(2, 1)], {"axis": 0}), ([T(2)], {"axis": 1})],
        "stack": [([T(2), T(3)], {"axis": 0}), ([T(2), T(2)], {"axis": 2})],
        "slice": [
            ([T(4)], {"axis": 0, "begin": 1, "end": 5}),
            ([T(4)], {"axis": 0, "begin": 2, "end": 2}),
            ([T(4)], {"axis": 0, "begin": 0, "end": 4, "stride": 2}),  # canonical: end 3
            ([T(4)], {"axis": 1, "begin": 0, "end": 1}),
        ],
        "reshape": [([T(2, 3)], {"shape": (4, 2)}), ([T(0, 3)], {"shape": (3, 0)})],
        "permute_dims": [([T(2, 3)], {"axes": (0,)}), ([T(2, 3)], {"axes": (0, 0)})],
        "broadcast_to": [([T(2)], {"shape": (3,)}), ([T(2, 1)], {"shape": (1,)}), ([T(2)], {"shape": (1,)})],
        **{
            name: [([T(2, 3)], {"axes": axes}) for axes in ((), (2,), (1, 0))] + [([T(2, dtype=BOOL)], {"axes": (0,)})]
            for name in ("sum", "max", "min", "prod", "mean", "variance", "std")
        },
        "take": [
            ([T(3), T(2)], {"axis": 0}),
            ([T(3), T(2, dtype=I32)], {"axis": 1}),
            ([T(3), T(2, dtype=I32)], {"axis": 0, "mode": "nan"}),
        ],
        "gather_elements": [([T(3), T(1, 1, dtype=I32)], {"axis": 0}), ([T(3, 2), T(3, 3, dtype=I32)], {"axis": 0})],
        "gather_nd": [([T(3), T(1, dtype=I32)], {}), ([T(3), T(2, dtype="int64")], {})],
        "full": [
            ([], {"value": 0, "shape": (-1,), "dtype": I32}),
            ([], {"value": 0, "shape": (1,), "dtype": "handle"}),
        ],
    }
    for n in (1, 2, 3):
        x, w = T(1, 4, *[5] * n), T(6, 4, *[3] * n)
        wrong[f"conv{n}d"] = [
            ([T(4, 5), w], {}),
            ([x, T(6, 3, *[3] * n)], {}),
            ([x, T(5, 2, *[3] * n)], {"groups": 2}),
            ([x, T(6, 4, *[6] * n)], {}),
            ([x, w], {"padding": (1,) * n}),
            ([x, w], {"strides": (0,) * n}),
            ([x, w], {"data_layout": "NCDHW"[-n - 2 :].replace("C", "N")}),
            ([x, w._replace(dtype="float16")], {}),
        ]
        w = T(4, 6, *[3] * n)
        wrong[f"conv{n}d_transpose"] = [
            ([x, T(3, 6, *[3] * n)], {}),
            ([x, w], {"output_padding": (1,) * n}),
            ([x, w], {"padding": (3,) * 2 * n}),
            ([x, w], {"groups": 3}),
        ]
        for kind in ("max", "avg"):
            wrong[f"{kind}_pool{n}d"] = [
                ([T(5, 5)], {"pool_size": (2,) * n}),
                ([x], {"pool_size": (6,) * n}),
                ([x], {"pool_size": (2,) * (n + 1)}),
                ([x._replace(dtype=BOOL)], {"pool_size": (2,) * n}),
            ]
        wrong[f"adaptive_avg_pool{n}d"] = [([T(5)], {"output_size": (1,) * n}), ([x], {"output_size": (1,) * (n + 1)})]
    return wrong


WRONG = _wrong()


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_makes_no_sense(name: str) -> None:
    record = OPERATORS[name]
    for types, attrs in WRONG[name]:
        with pytest.raises(IllTyped):
            record.infer(types, record.make_attrs(**attrs))
    with pytest.raises(IllTyped, match=f"{name} takes"):
        record.check_arity(0 if record.arity != 0 else 1)


SYMBOLIC: list[tuple[str, list[TensorType], dict[str, Any]]] = [
    ("relu", [T(N, 4)], {}),
    ("cast", [T(N, 4)], {"dtype": "float16"}),
    ("add", [T(N, 4), T(N, 4)], {}),
    ("add", [T(N, 1, M), T(4, 1)], {}),
    ("where", [T(N, 1, dtype=BOOL), T(N, 4), T(4)], {}),
    ("matmul", [T(N, 3), T(3, 5)], {}),
    ("matmul", [T(2, N, M), T(M, N)], {}),
    ("conv2d", [T(N, 4, 8, 8), T(6, 2, 3, 3)], {"groups": 2, "padding": (1, 1, 1, 1)}),
    ("conv2d", [T(1, 4, N, M), T(6, 4, 1, 1)], {}),
    ("conv1d_transpose", [T(N, 4, 8), T(4, 2, 3)], {"strides": (2,)}),
    ("max_pool2d", [T(N, 4, 8, 8)], {"pool_size": (2, 2), "strides": (2, 2), "ceil_mode": True}),
    ("adaptive_avg_pool2d", [T(N, 4, M, M)], {"output_size": (1, 1)}),
    ("resize2d", [T(N, 4, M, M)], {"size": (3, 3)}),
    ("layer_norm", [T(N, M), T(M), T(M)], {"axes": (1,)}),
    ("batch_norm", [T(N, 3, M), *[T(3)] * 4], {"axis": 1}),
    ("group_norm", [T(N, 4, M), T(4), T(4)], {"num_groups": 2, "channel_axis": 1, "axes": (2,)}),
    ("softmax", [T(N, M)], {"axis": 1}),
    ("pad", [T(N, 4)], {"pad_width": (0, 0, 1, 2)}),
    ("concat", [T(N, 4), T(N, 3)], {"axis": 1}),
    ("stack", [T(N, M), T(N, M)], {"axis": 1}),
    ("slice", [T(N, 4)], {"axis": 1, "begin": 1, "end": 3}),
    ("permute_dims", [T(N, 4, M)], {"axes": (2, 0, 1)}),
    ("reshape", [T(N, 12, M)], {"shape": (M, N, 3, 4)}),
    ("broadcast_to", [T(1, N)], {"shape": (M, N)}),
    ("sum", [T(N, 4, M)], {"axes": (0, 1)}),
    ("mean", [T(N, 4, M)], {"axes": (2,), "keepdims": True}),
    ("take", [T(4, 8), T(N, M, dtype=I32)], {"axis": 0}),
    ("gather_elements", [T(N, 8), T(N, 3, dtype=I32)], {"axis": 1}),
    ("gather_nd", [T(N, 8, M), T(N, 1, dtype="int64")], {"batch_dims": 1}),
    ("full", [], {"value": 1.0, "shape": (N, 2)}),
]


@pytest.mark.parametrize(("name", "types", "attrs"), SYMBOLIC, ids=[row[0] for row in SYMBOLIC])
def test_symbols_are_inferred_as_in_relax(name: str, types: list[TensorType], attrs: dict[str, Any]) -> None:
    record = OPERATORS[name]
    full = record.make_attrs(**attrs)
    bb = relax.BlockBuilder()
    shapes = [[d.var if isinstance(d, Symbol) else d for d in t.shape] for t in types]
    params = [relax.Var("x", relax.TensorType(s, t.dtype)) for s, t in zip(shapes, types, strict=True)]
    sizes = relax.Var("sizes", relax.ShapeType([N.var, M.var]))
    with bb.function("main", [*params, sizes]):
        with bb.dataflow():
            found = bb.emit_output(record.emit(list(params), full))
        bb.emit_func_output(found)
    symbols = {N.var: N, M.var: M}
    dims = tuple(int(d) if isinstance(d, tirx.IntImm) else symbols[d] for d in found.ty.shape.values)
    assert record.infer(types, full) == TensorType(dims, str(found.ty.dtype.dtype))


@pytest.mark.parametrize(
    ("name", "types", "attrs"),
    [
        ("add", [T(N), T(M)], {}),
        ("add", [T(N), T(4)], {}),
        ("matmul", [T(2, N), T(M, 2)], {}),
        ("conv2d", [T(1, 4, N, 8), T(6, 4, 3, 3)], {}),
        ("conv2d", [T(1, N, 8, 8), T(6, 2, 3, 3)], {"groups": 2}),
        ("concat", [T(N), T(N)], {"axis": 0}),
        ("slice", [T(N)], {"axis": 0, "begin": 0, "end": 2}),
        ("reshape", [T(N, 4)], {"shape": (N, N)}),
        ("reshape", [T(N, M)], {"shape": (N, 8)}),
        ("pad", [T(N)], {"pad_width": (1, 0)}),
        ("broadcast_to", [T(N)], {"shape": (M,)}),
        ("layer_norm", [T(2, N), T(M), T(M)], {"axes": (1,)}),
    ],
)
def test_what_needs_the_value_of_a_symbol_is_refused(name: str, types: list[TensorType], attrs: dict[str, Any]) -> None:
    with pytest.raises(IllTyped):
        OPERATORS[name].infer(types, OPERATORS[name].make_attrs(**attrs))


def test_every_case_uses_canonical_attributes() -> None:
    """Attributes are hashable and of plain Python types, or canonical themselves, so equal operators are one e-node."""
    plain = (bool, int, float, str, tuple, IndexMap)
    for name in NAMES:
        for _, attrs in cases(name):
            hash(attrs)
            values = [v for a in attrs for v in (a if isinstance(a, tuple) else (a,))]
            assert all(type(v) in plain for v in values), (name, attrs)
