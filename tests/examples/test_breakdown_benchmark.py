"""The benchmark that tells where time goes: that both programs tell all of their steps, and that rows add up."""

from __future__ import annotations

from pathlib import Path

import pytest

import tvmc
from examples.benchmarks.breakdown import OURS, THEIRS, Ours, Step, Theirs, rows_of
from examples.models import random_inputs
from examples.models.convnet import ConvNet
from examples.programs import imported, target_for

STEPS = {
    OURS: [
        Step("fused_conv2d_relu", (8, 8, 16), 1.0),
        Step("conv2d1", (8, 8, 16), 2.0),
        Step("max_pool2d", (4, 4), 0.5),
    ],
    THEIRS: [Step("FusedConv", (8, 8, 16), 2.5), Step("ReorderOutput", (8, 8, 16), 0.25)],
}


def test_rows_are_sums_by_size() -> None:
    rows = dict(rows_of(STEPS))
    assert rows == {
        "8x8x16": {OURS: (2, 3.0), THEIRS: (1, 2.5)},
        "all else": {OURS: (1, 0.5), THEIRS: (1, 0.25)},
    }


def test_both_programs_tell_their_steps(tmp_path: Path) -> None:
    net = ConvNet(seed=0)
    net.classify(net.relu(net.conv(net.image(12), 8, 3, name="conv"), name="relu"), 5, name="head")
    model = net.model("net")
    inputs = random_inputs(model)
    library = tmp_path / "model.so"
    tvmc.compile(imported(model, "net"), target_for(1), package_path=library)
    for program in (Ours(library, inputs), Theirs(model, inputs, 1, tmp_path)):
        for _ in range(3):
            program.run()
        steps = program.steps()
        assert [step.size for step in steps if step.product] == [(8, 12, 12), (5,)], steps
        assert all(0 < step.ms < 1e3 for step in steps)
        assert sum(step.ms for step in steps) == pytest.approx(
            sum(v[1] for _, row in rows_of({"": steps}) for v in row.values())
        )
