"""Reading modules and writing them again, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import IRModule, relax

from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.region import Region

LIMIT = 1 << 20


def read_one(mod: IRModule) -> Region:
    """The only region of a module."""
    view = read_module(mod)
    assert view.skipped == []
    (region,) = view.regions
    return region


def round_trip(mod: IRModule, limit: int = LIMIT) -> IRModule:
    """The module with every block read and written again."""
    view = read_module(mod)
    new = view.rebuild([region.graph for region in view.regions], limit)
    relax.analysis.well_formed(new)
    return new


def check(before: IRModule, expected: IRModule, limit: int = LIMIT) -> None:
    """The round trip gives the expected module, and giving it back changes nothing any more."""
    after = round_trip(before, limit)
    tvm.ir.assert_structural_equal(after, expected)
    tvm.ir.assert_structural_equal(round_trip(after, limit), expected)


def ops(region: Region) -> list[str]:
    """Names of the live operators, leaves left out."""
    nodes = [region.graph.nodes[i] for i in region.graph.live()]
    return [node.op for node in nodes if node.op not in ("input", "constant")]


def machine(mod: IRModule) -> relax.VirtualMachine:
    """The module compiled for the CPU."""
    return relax.VirtualMachine(tvm.compile(mod, tvm.target.Target("llvm")), tvm.cpu())


def run(mod: IRModule, *args: np.ndarray) -> list[np.ndarray]:
    """Outputs of the module's main function, tuples flattened."""
    return _arrays(machine(mod)["main"](*[tvm.runtime.tensor(a) for a in args]))


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, tvm.runtime.Tensor):
        return [value.numpy()]
    return [array for part in value for array in _arrays(part)]


def check_same_results(mod: IRModule, *args: np.ndarray) -> None:
    """The round trip computes what the module computes."""
    for old, new in zip(run(mod, *args), run(round_trip(mod), *args), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-6)


def normal(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Normally distributed values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
