"""The pass with Monte Carlo tree search."""

from __future__ import annotations

import json
from pathlib import Path

from tvm.ir import assert_structural_equal
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_eqsat.transform import EqSatOptimize

TARGET = {"kind": "llvm", "num-cores": 2}


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
        with R.dataflow():
            a: R.Tensor((128, 64), "float32") = R.permute_dims(x, axes=[1, 0])
            b: R.Tensor((128, 64), "float32") = R.nn.softmax(a, axis=0)
            c: R.Tensor((64, 128), "float32") = R.permute_dims(b, axes=[1, 0])
            d: R.Tensor((64, 128), "float32") = R.exp(c)
            e: R.Tensor((128, 64), "float32") = R.permute_dims(d, axes=[1, 0])
            f: R.Tensor((128, 64), "float32") = R.nn.softmax(e, axis=0)
            g: R.Tensor((64, 128), "float32") = R.permute_dims(f, axes=[1, 0])
            R.output(g)
        return g


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((64, 128), "float32")) -> R.Tensor((64, 128), "float32"):
        with R.dataflow():
            c: R.Tensor((64, 128), "float32") = R.nn.softmax(x, axis=1)
            d: R.Tensor((64, 128), "float32") = R.exp(c)
            g: R.Tensor((64, 128), "float32") = R.nn.softmax(d, axis=1)
            R.output(g)
        return g


def test_the_pass_searches_and_remembers_which_rules_paid(tmp_path: Path) -> None:
    for name in ("database_workload.json", "database_tuning_record.json"):
        (tmp_path / name).touch()
    for _ in range(2):  # the second time with what the first one learned
        optimize = EqSatOptimize(
            target=TARGET, schedule="mcts", node_limit=16, restarts=0, simulations=20, database=tmp_path
        )
        assert_structural_equal(optimize(Before), Expected)
    (programs,) = json.loads((tmp_path / "eqsat_rules.json").read_text(encoding="utf-8")).values()
    (record,) = programs.values()
    assert record["given"] == {}
    assert sum(record["found"].values()) > 0
