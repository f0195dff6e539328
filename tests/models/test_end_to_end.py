"""Real models through import, saturation, extraction, emission and compilation; outputs against onnxruntime's."""

from __future__ import annotations

import pytest

from examples.check_models import TOLERANCE, check
from examples.models import LIGHT, bert_base, light


@pytest.mark.parametrize("name", LIGHT)
def test_light_model_agrees_with_onnxruntime(name: str) -> None:
    # Logits too: a saturated softmax hides errors. A smaller e-graph than by default, for the time it takes.
    found = check(light(name, logits=True), node_limit=4_000, candidates=2)
    assert found.difference <= TOLERANCE
    assert found.changed


def test_bert_agrees_with_onnxruntime() -> None:
    """All twelve layers at full width; a shorter sequence, since untuned kernels are slow."""
    found = check(bert_base(seq=16))
    assert found.difference <= TOLERANCE
