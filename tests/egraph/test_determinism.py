"""Equal calls give equal results in any process, whatever the hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.egraph.reference import saturate
from tests.egraph.test_matcher import RULES, X, Y, Z, compilable, insert, random_egraph
from tvm_eqsat.egraph import EGraph, Pat, compile_join

PAIR = compile_join([Pat("+", (X, Y)), Pat("*", (X, Z))])


def history() -> str:
    """Everything that can be seen of some e-graphs."""
    eg = EGraph()
    root = insert(eg, ("+", ("*", "a", ("+", "b", "c")), ("*", ("*", "a", "b"), ("+", "a", "a"))))
    saturate(eg, RULES, 2000)
    reasons = [eg.reason(node) for c in eg.classes() for node in eg.nodes(c)]
    seen: list[object] = [eg.freeze([root]), reasons, PAIR.search(eg, only=eg.touched(2, 2)), list(eg.with_op("+"))]
    for seed in range(40):
        rng = Random(seed)
        eg = random_egraph(rng)
        seen += [eg.freeze(eg.classes()), compilable(rng, eg, 2).search(eg)]
    return repr(seen)


def test_same_in_every_process() -> None:
    command = [sys.executable, "-c", "from tests.egraph.test_determinism import history; print(history())"]
    top = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            command, cwd=top, env={**os.environ, "PYTHONPATH": str(top), "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE
        )
        for seed in ("1", "2")
    ]
    outputs = [run.communicate()[0].decode().strip() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert outputs[0] == outputs[1] == history()
