"""Which blocks channels stand in."""

from __future__ import annotations

import pytest
from tvm.target import Target

from tvm_eqsat.cost.space.registers import registers_of
from tvm_eqsat.layout.blocks import block_of, blocked, blocked_depthwise_weight, blocked_weight


@pytest.mark.parametrize(
    "channels, block", [(64, 16), (24, 8), (20, 4), (3, 3), (17, 8), (1, 1), (7, 7), (8, 8), (2048, 16)]
)
def test_blocks_are_whole_registers_where_they_can_be(channels: int, block: int) -> None:
    assert block_of(channels, 8) == block


def test_groups_are_not_padded() -> None:
    assert block_of(9, 8, pad=False) == 9
    assert block_of(18, 8, pad=False) == 18


@pytest.mark.parametrize(
    "target, block",
    [
        ({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512"}, 32),
        ({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}, 16),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}, 8),
    ],
)
def test_blocks_follow_the_target(target: dict[str, object], block: int) -> None:
    assert block_of(64, registers_of(Target(target)).lanes(32)) == block


def test_shapes() -> None:
    assert blocked((2, 20, 7, 5), 1, 8).shape == (2, 3, 7, 5, 8)
    assert blocked_weight((32, 20, 3, 3), 4, 16).shape == (2, 5, 3, 3, 4, 16)
    assert blocked_depthwise_weight((32, 1, 3, 5), 8).shape == (4, 3, 5, 8)
