"""The real networks that the onnx package carries: nothing in them is opaque, and they survive the round trip."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from tests.graph.blocks import LIMIT
from tvm_eqsat.graph.module import read_module

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def test_all_nine_are_there() -> None:
    assert len(LIGHT) == 9


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem.removeprefix("light_"))
def test_round_trip(path: Path) -> None:
    mod = from_onnx(onnx.load(path))
    view = read_module(mod)
    assert view.skipped == []
    (region,) = view.regions
    assert region.opaque == {}
    new = view.rebuild([region.graph], LIMIT)
    relax.analysis.well_formed(new)
    old_block, block = mod["main"].body.blocks[0], new["main"].body.blocks[0]
    assert 0 < len(block.bindings) < len(old_block.bindings)

    # Once more: nothing is left to fold or to merge, and reading what was written gives the same graph.
    view = read_module(new)
    tvm.ir.assert_structural_equal(view.rebuild([view.regions[0].graph], LIMIT), new)
