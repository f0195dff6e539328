"""Real models through import, saturation, extraction, emission and compilation; outputs against onnxruntime's."""

from __future__ import annotations

import pytest

from examples.check_models import TOLERANCE, check
from examples.models import LIGHT, bert_base, gpt2, light, mobilenet_v2
from tests.models.sizes import BIG, SLOW


@pytest.mark.parametrize("name", [name for name in LIGHT if name not in BIG | SLOW])
def test_light_model_agrees_with_onnxruntime(name: str) -> None:
    # Logits too: a saturated softmax hides errors. One smaller e-graph than by default, for the time it takes.
    found = check(light(name, logits=True), node_limit=4_000, restarts=0, candidates=1)
    assert found.difference <= TOLERANCE
    assert found.changed


def test_bert_agrees_with_onnxruntime() -> None:
    """All twelve layers at full width; a shorter sequence, since untuned kernels are slow."""
    found = check(bert_base(seq=16))
    assert found.difference <= TOLERANCE


def test_a_decoder_with_repeated_layers_agrees_with_onnxruntime() -> None:
    found = check(gpt2(layers=4, hidden=64, heads=4, seq=16))
    assert found.difference <= TOLERANCE


def test_clip_which_tvm_imports_as_calls_of_kernels_agrees_with_onnxruntime() -> None:
    found = check(mobilenet_v2(image=32))
    assert found.difference <= TOLERANCE
    assert found.changed
