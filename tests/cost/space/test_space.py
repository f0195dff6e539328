"""Register tiles: which loops they are made of, what is proposed, and that every schedule computes the same."""

from __future__ import annotations

from math import inf
from operator import eq

import numpy as np
import pytest
import tvm
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.cost.builders import TARGET, constant, conv, module, result
from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.space import TileProposals, is_tiled
from tvm_eqsat.cost.space.contraction import Contraction, contractions_of
from tvm_eqsat.cost.space.registers import Registers, registers_of
from tvm_eqsat.cost.space.tiles import best_of, is_ragged, lanes_of, speed, tiles
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.tuning.search import KernelSearch

TARGETS = {
    "avx2": Target({"kind": "llvm", "mcpu": "x86-64-v3", "mtriple": "x86_64-linux-gnu", "num-cores": 2}),
    "avx512": Target({"kind": "llvm", "mcpu": "x86-64-v4", "mtriple": "x86_64-linux-gnu", "num-cores": 2}),
    "neon": Target({"kind": "llvm", "mcpu": "neoverse-n1", "mtriple": "aarch64-linux-gnu", "num-cores": 2}),
}


def _conv_relu(e, x, w, b, **attrs):
    return e(op.nn.relu(e(op.add(conv(e, x, w, **attrs), b))))


def _nhwc(
    channels: int, filters: int, groups: int = 1, kernel: int = 3, strides: int = 1, size: int = 14
) -> tvm.IRModule:
    return module(
        lambda e, x, w, b: _conv_relu(e, x, w, b, padding=kernel // 2, layout="NHWC", groups=groups, strides=strides),
        (1, size, size, channels),
        (kernel, kernel, channels // groups, filters),
        (1, 1, 1, filters),
    )


MODULES = {
    "nhwc": _nhwc(8, 32),
    "strided": _nhwc(8, 32, strides=2),
    "1x1": _nhwc(24, 48, kernel=1),
    "grouped": _nhwc(32, 64, groups=4),
    "depthwise": _nhwc(32, 32, groups=32),
    "nchw": module(lambda e, x, w, b: _conv_relu(e, x, w, b), (1, 8, 14, 14), (32, 8, 3, 3), (1, 32, 1, 1)),
    "nchw grouped": module(
        lambda e, x, w, b: _conv_relu(e, x, w, b, groups=4, strides=2), (1, 32, 14, 14), (64, 8, 3, 3), (1, 64, 1, 1)
    ),
    "nchw depthwise": module(
        lambda e, x, w, b: _conv_relu(e, x, w, b, groups=8, padding=1), (1, 8, 16, 16), (8, 1, 3, 3), (1, 8, 1, 1)
    ),
    "few filters": module(lambda e, x, w: conv(e, x, w, padding=1), (1, 4, 16, 16), (2, 4, 3, 3)),
    "ragged": _nhwc(8, 32, size=17),
    "ragged matmul": module(lambda e, x, w: e(op.nn.relu(e(op.matmul(x, w)))), (17, 64), (64, 96)),
    "matmul": module(lambda e, x, w: e(op.nn.relu(e(op.matmul(x, w)))), (24, 64), (64, 96)),
    "no epilogue": module(lambda e, x, w: e(op.matmul(x, w)), (24, 64), (64, 96)),
    "batched": module(lambda e, x, w: e(op.matmul(x, w)), (3, 16, 32), (3, 32, 40)),
    "one row": module(lambda e, x, w, b: e(op.add(e(op.matmul(x, w)), b)), (1, 64), (64, 40), (40,)),
}


REGISTERS = Registers(256, 16)


@pytest.fixture(scope="module", autouse=True)
def _intrinsics() -> None:
    load_intrinsics()


def kernel(name: str) -> Kernel:
    return max((k for k in kernels(MODULES[name], TARGET) if k.mod is not None), key=lambda k: k.flops)


def axes_of(mod: tvm.IRModule) -> Contraction:
    sch = Schedule(mod)
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    (found,) = (axes for block in blocks if (axes := contractions_of(sch.get(block))))
    return best_of(found, REGISTERS)


def proposals(mod: tvm.IRModule, target: Target = TARGET, seed: int = 0) -> TileProposals:
    return TileProposals(mod, target, 2, np.random.RandomState(seed))


@pytest.mark.parametrize(
    ("name", "column", "row", "blocked", "width", "panel_reads"),
    [
        ("nhwc", 3, 2, 1, 32, 1),
        ("1x1", 3, 2, 1, 48, 1),
        ("grouped", 3, 2, 1, 16, 1),
        ("depthwise", 3, 2, 1, 32, 1),
        ("nchw", 1, 3, 2, 32, 1),
        ("nchw grouped", 1, 3, 2, 16, 1),
        ("nchw depthwise", 3, 2, 2, 16, 0),
        ("few filters", 3, 1, 1, 16, 0),
        ("matmul", 1, 0, 0, 96, 1),
        ("batched", 2, 1, 1, 40, 1),
        ("one row", 1, None, None, 40, 1),
    ],
)
def test_loops_of_a_tile(name, column, row, blocked, width, panel_reads) -> None:
    axes = axes_of(kernel(name).mod)
    assert (axes.column, axes.row, axes.blocked, axes.width, axes.panel) == (column, row, blocked, width, panel_reads)


@pytest.mark.parametrize(
    "build",
    [
        lambda e, x, w: e(op.nn.softmax(x)),
        lambda e, x, w: e(op.add(x, w)),
        lambda e, x, w: e(op.nn.max_pool2d(x, (3, 3))),
    ],
)
def test_what_sums_no_products_is_left_alone(build) -> None:
    shape = (1, 4, 8, 8)
    for found in kernels(module(build, shape, shape), TARGET):
        proposed = proposals(found.mod)
        assert proposed.exhausted and proposed.next() is None


def test_integer_products_are_left_to_metaschedule() -> None:
    (found,) = kernels(module(lambda e, x, w: e(op.matmul(x, w)), (8, 8), (8, 8), dtype="int32"), TARGET)
    assert proposals(found.mod).exhausted


@pytest.mark.parametrize("name", [name for name in MODULES if name != "few filters"])
def test_every_schedule_computes_the_same(name) -> None:
    mod = kernel(name).mod
    expected = result(mod)
    found = proposals(mod)
    # with and without copies of the operands, padding for all and for each block
    for _ in range(len(found._sketches)):
        candidate = found.next()
        assert candidate is not None and is_tiled(candidate.sch)
        # sums of at most 72 products: other orders of them differ by some roundings
        np.testing.assert_allclose(result(candidate.sch.mod), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_it_compiles_for_other_machines_with_sums_on_the_stack(target) -> None:
    proposed = proposals(kernel("matmul").mod, TARGETS[target])
    candidate = proposed.next()
    tile = proposed._proposed[str(candidate.sch.trace)].tile
    lanes = registers_of(TARGETS[target]).lanes(32)
    code = tvm.tirx.build(candidate.sch.mod, target=TARGETS[target]).inspect_source("ll")
    assert f"<{lanes} x float>" in code
    # TVM's limit for a buffer on the stack is 1024 bytes; LLVM keeps no other in registers
    assert (tile.rows * tile.vectors * lanes * 4 < 1024) == ("load ptr, ptr @__TVMBackendAllocWorkspace" not in code)


def test_registers_of_targets() -> None:
    found = {name: registers_of(target) for name, target in TARGETS.items()}
    assert found == {"avx2": Registers(256, 16), "avx512": Registers(512, 32), "neon": Registers(128, 32)}


@pytest.mark.parametrize("registers", [Registers(256, 16), Registers(512, 32), Registers(128, 32)])
def test_the_likeliest_tile_fits_and_divides(registers) -> None:
    for name in MODULES:
        axes = axes_of(kernel(name).mod)
        likely = tiles(axes, registers, threads=2)
        best = likely[0][0]
        assert best.rows * best.vectors + best.vectors + 1 <= registers.count
        assert axes.width % (best.vectors * lanes_of(axes, registers)) == 0
        assert axes.row is None or axes.extents[axes.row] % best.rows == 0 or is_ragged(axes, registers)
        assert sum(p for _, p in likely) == pytest.approx(1.0)
        assert [p for _, p in likely] == sorted((p for _, p in likely), reverse=True)


def test_a_tile_that_spills_is_slower_and_a_tiny_one_too() -> None:
    registers = Registers(256, 16)
    assert speed(4, 2, registers) > speed(7, 2, registers) > 0 == speed(8, 4, registers)
    assert speed(4, 2, registers) > speed(2, 1, registers)


def test_proposals_are_the_same_in_every_run_and_never_twice() -> None:
    mod = kernel("nhwc").mod
    runs = [[str(found.next().sch.trace) for _ in range(12)] for found in (proposals(mod), proposals(mod))]
    assert runs[0] == runs[1] and len(set(runs[0])) == 12


def test_what_is_near_the_best_is_tried_more() -> None:
    def agreement(best: int | None) -> float:
        found = proposals(kernel("nhwc").mod)
        tried = [found.next() for _ in range(12)]
        for i, candidate in enumerate(tried):
            assert found.learn(candidate, inf if best is None else 1.0 + (i != best))
        there = found._proposed[str(tried[7].sch.trace)]
        later = [found._proposed[str(found.next().sch.trace)] for _ in range(12)]
        return sum((p.sketch == there.sketch) + sum(map(eq, p.tile, there.tile)) for p in later) / len(later)

    assert agreement(7) > agreement(None) + 0.5


PREPACKED = {
    "prepacked": module(lambda e, x: e(op.nn.relu(conv(e, x, constant(3, 3, 8, 32), layout="NHWC"))), (1, 14, 14, 8)),
    "prepacked nchw": module(lambda e, x: e(op.nn.relu(conv(e, x, constant(32, 8, 3, 3)))), (1, 8, 14, 14)),
}


@pytest.mark.parametrize("name", ["nhwc", "matmul", "nchw", "ragged", *PREPACKED])
def test_a_schedule_survives_tvms_database(tmp_path, name) -> None:
    found = kernel(name) if name in MODULES else kernels(PREPACKED[name], TARGET, prepack=True)[0]
    candidate = proposals(found.mod).next()
    assert ("layout_rewrite" in str(candidate.sch.mod)) == (name in PREPACKED)
    first = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = first.commit_workload(found.mod)
    first.commit_tuning_record(
        ms.database.TuningRecord(candidate.sch.trace, workload, [1e-3], TARGET, candidate.args_info)
    )
    again = ms.database.JSONDatabase(work_dir=str(tmp_path))
    replayed = again.query_schedule(found.mod, TARGET, "main").mod
    # in JSON, true is 1
    assert replayed.script().replace("True", "1") == candidate.sch.mod.script().replace("True", "1")


def test_a_search_tries_both_design_spaces_and_register_tiles_first(tmp_path) -> None:
    with TARGET:
        search = KernelSearch(kernel("nhwc"), TARGET, KernelStore(tmp_path, TARGET), batch=8, seed=0, threads=1)
        found = [is_tiled(candidate.sch) for candidate in search.propose(8)]
        assert found == [True] * 6 + [False] * 2
        alone = KernelSearch(
            kernel("nhwc"), TARGET, KernelStore(tmp_path, TARGET), batch=8, seed=0, threads=1, tiles=False
        )
        assert not any(is_tiled(candidate.sch) for candidate in alone.propose(8))
