"""A form: which loops over which layouts, and their sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ..rules.layouts import forms
from ..rules.rule import Rule

_MAKERS: dict[str, Callable[..., Rule]] = {
    "blocked": forms.blocked_conv,
    "tiled": forms.tiled,
    "im2col": forms.im2col,
    "shifted": forms.shifted,
    "panels": forms.panels,
    "transposed": forms.transposed,
    "folded": forms.folded,
}


class Form(NamedTuple):
    """A way to compute an operator.

    Attributes
    ----------
    kind : str
        What :mod:`tvm_eqsat.rules.layouts.forms` calls it.
    sizes : tuple of int
        Its sizes there.
    """

    kind: str
    sizes: tuple[int, ...] = ()

    def rule(self) -> Rule:
        """The rule that puts it beside the operator."""
        return _rule(self)

    @property
    def known(self) -> bool:
        """Whether there is such a rule."""
        return self.kind in _MAKERS


@lru_cache(maxsize=1024)
def _rule(form: Form) -> Rule:
    return _MAKERS[form.kind](*form.sizes)
