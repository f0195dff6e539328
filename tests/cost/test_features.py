"""Kernels in numbers."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from tvm.relax import op

from tests.cost.builders import MACHINE, TARGET, conv, module
from tvm_eqsat.cost import features as module_under_test
from tvm_eqsat.cost.features import FEATURES, features
from tvm_eqsat.cost.lower import Kernel, kernels

CHW, OIHW = (1, 16, 30, 30), (32, 16, 3, 3)
HWC, HWIO = (1, 30, 30, 16), (3, 3, 16, 32)


def only(build, *shapes, **attrs):
    (found,) = kernels(module(build, *shapes, **attrs), TARGET)
    return found


def read(build, *shapes, machine=MACHINE, **attrs):
    """Features by name."""
    vector = features(only(build, *shapes, **attrs), machine)
    return dict(zip(FEATURES, vector.tolist(), strict=True))


@pytest.mark.parametrize(
    ("build", "shapes", "dtype"),
    [
        (conv, (CHW, OIHW), "float32"),
        (lambda e, x, w: conv(e, x, w, layout="NHWC", strides=2), (HWC, HWIO), "float16"),
        (lambda e, x, w: conv(e, x, w, groups=16), (CHW, (16, 1, 3, 3)), "float32"),
        (lambda e, x, w: e(op.matmul(x, w)), ((1, 32), (32, 1)), "float32"),
        (lambda e, x: e(op.nn.softmax(x)), ((8, 64),), "float32"),
        (lambda e, x: e(op.nn.max_pool2d(x, (3, 3), strides=(2, 2))), (CHW,), "float32"),
        (lambda e, x: e(op.permute_dims(x)), ((8, 64),), "float32"),
        (lambda e, x: e(op.cumsum(x, axis=1)), ((8, 64),), "float32"),
        (lambda e, x: e(op.argsort(x)), ((8, 64),), "float32"),
        (lambda e, x: e(op.exp(x)), ((),), "float32"),
    ],
)
def test_every_kernel_has_finite_features(build, shapes, dtype):
    for kernel in kernels(module(build, *shapes, dtype=dtype), TARGET):
        if kernel.mod is not None:
            vector = features(kernel, MACHINE)
            assert vector.shape == (len(FEATURES),) and vector.dtype == np.float32
            assert np.isfinite(vector).all()


def test_names_are_distinct_and_all_are_used():
    assert len(set(FEATURES)) == len(FEATURES)
    seen = [
        read(lambda e, x, w: e(op.exp(conv(e, x, w, strides=2))), CHW, OIHW),
        read(lambda e, x, w: e(op.add(e(op.matmul(x, w)), x)), (8, 64), (64, 64)),
        read(lambda e, x, w: e(op.matmul(x, w)), (64, 64), (64, 64)),
        read(lambda e, x: e(op.permute_dims(x)), (8, 63)),
        read(lambda e, x: e(op.nn.relu(x)), (8, 63)),
        read(lambda e, x, y: e(op.concat([x, y], axis=1)), (8, 32), (8, 32)),
    ]
    always_zero = {name for name in FEATURES if not any(row[name] for row in seen)}
    other_kinds = {name for name in FEATURES if name.startswith("kind_")}
    # slices, reshapes, transposes, columns that fill no vector
    assert always_zero - other_kinds <= {"parts", "divisions", "lanes_strided", "tile_lanes"}


def test_tiles_tell_how_well_columns_fill_vectors():
    def grouped(outputs):
        shapes = (1, 14, 14, 32), (1, 1, 8, outputs)
        return read(lambda e, x, w: conv(e, x, w, padding=0, layout="NHWC", groups=4), *shapes)

    # vectors of 8 lanes: a group's 8, 6 or 34 outputs fill 8, 6 or 2 of them
    found = [grouped(4 * outputs) for outputs in (8, 6, 34)]
    assert [row["tile_lanes"] for row in found] == pytest.approx([0, np.log2(6 / 8), -2])
    assert found[0]["tile_speed"] > found[1]["tile_speed"] > found[2]["tile_speed"]
    assert not read(lambda e, x: e(op.nn.relu(x)), (8, 64))["tiled"]


def test_equal_kernels_have_equal_features_that_nobody_can_change():
    first, second = (features(only(conv, CHW, OIHW), MACHINE) for _ in range(2))
    module_under_test._remembered.cache_clear()
    again = features(only(conv, CHW, OIHW), MACHINE)
    assert first is second and again is not first
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_remembered_features_cost_next_to_nothing():
    kernel = only(conv, CHW, OIHW)
    features(kernel, MACHINE)
    started = time.perf_counter()
    for _ in range(100):
        features(kernel, MACHINE)
    assert time.perf_counter() - started < 0.1  # 1 ms each; it takes some microseconds


def test_layouts_differ_where_they_should():
    first = read(conv, CHW, OIHW)
    last = read(lambda e, x, w: conv(e, x, w, layout="NHWC"), HWC, HWIO)
    assert first["points"] == last["points"] and first["depth"] == last["depth"]
    assert (first["kind_sliding"], last["kind_dense"]) == (1, 1)
    # channels first: 30 columns of the image; channels last: 32 channels, the image is broadcast
    assert (2 ** first["inner"], 2 ** last["inner"]) == pytest.approx((30, 32))
    assert (first["inner_fit"], last["inner_fit"]) == (30 / 32, 1)
    assert (2 ** first["inner_power"], 2 ** last["inner_power"]) == (2, 32)
    assert [last["operand0_stride_inner"], last["operand1_stride_inner"]] == [0, 1]
    assert [first["operand0_stride_inner"], first["operand1_stride_inner"]] == [1, 0]


def test_what_is_fused_shows():
    alone = read(lambda e, x, w: conv(e, x, w, padding=0), CHW, OIHW)
    fused = read(lambda e, x, w, b: e(op.nn.relu(e(op.add(conv(e, x, w), b)))), CHW, OIHW, (1, 32, 1, 1))
    assert (alone["padding"], alone["after"]) == (0, 0)
    assert (fused["padding"], fused["after"], fused["conditions_inner"]) == (1, 2, 1)
    assert fused["padding_waste"] == pytest.approx(np.log2(32 * 32 / 30**2))
    assert fused["scratch_bytes"] > alone["scratch_bytes"]


def test_strides_and_dilation_show():
    plain, strided, dilated = (
        read(lambda e, x, w, k=k: conv(e, x, w, **k), CHW, OIHW) for k in ({}, {"strides": 2}, {"dilation": 2})
    )
    assert (plain["stride"], plain["dilation"]) == (1, 1)
    assert (strided["stride"], strided["dilation"]) == (2, 1)
    assert (dilated["stride"], dilated["dilation"]) == (1, 2)


def test_transposed_reading_shows():
    straight = read(lambda e, x: e(op.exp(x)), (32, 64))
    turned = read(lambda e, x: e(op.permute_dims(x)), (32, 64))
    assert straight["operand0_stride_inner"] == 1
    assert turned["operand0_stride_inner"] == pytest.approx(1 + np.log2(64))
    assert straight["transcendental"] == 1 and turned["transcendental"] == 0


def test_one_loop_over_everything_shows():
    alone = read(lambda e, x: e(op.nn.relu(x)), (1, 16, 14, 14))
    scaled = read(lambda e, x, s: e(op.multiply(x, s)), (1, 16, 14, 14), (1, 16, 1, 1))
    assert (alone["uniform"], scaled["uniform"]) == (1, 0)
    assert (alone["broadcast"], scaled["broadcast"]) == (0, 0.5)


def test_the_machine_counts():
    kernel = only(conv, CHW, OIHW)
    small = replace(MACHINE, cache_bytes=MACHINE.cache_bytes // 4, peak_flops=MACHINE.peak_flops / 2)
    here, there = (dict(zip(FEATURES, features(kernel, m).tolist(), strict=True)) for m in (MACHINE, small))
    assert there["over_last"] == here["over_last"] + 2
    assert there["roofline"] > here["roofline"]


def test_what_is_not_tir_has_no_features():
    with pytest.raises(ValueError, match="somebody's has no features"):
        features(Kernel("somebody's", 1, only(conv, CHW, OIHW).work), MACHINE)
