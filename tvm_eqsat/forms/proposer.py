"""Which form of which operator to measure next, learned from what was measured of similar ones.

The latency of a form, relative to the best of the fixed layouts, is predicted as the roofline has it, corrected by how
far that was off for similar operators in similar forms; the nearer, the more. What is tried next is what could save the
most, over the operator's best form so far, if the prediction is two standard deviations too pessimistic. ALT asks a
policy network (PPO) here, which learns from many measurements; neighbours answer after the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log2
from typing import NamedTuple

from .form import Form
from .site import Site

#: Standard deviation of the roofline's logarithm between forms of one operator: 0.39 for 41 forms of 8 operators of
#: ResNet-50 and BERT-base, best of 4 trials each.
_DOUBT = 0.4
_OPTIMISM = 2.0  # standard deviations that a prediction may be too pessimistic
#: Doublings of sizes, all together, at which a measurement counts half as much as one of this very operator.
_REACH = 1.5
_TRUST = 4.0  # what a measurement of the same operator and form counts, where the roofline counts 1


class Measured(NamedTuple):
    """What is known of a form of an operator.

    Attributes
    ----------
    features : tuple of float
        The operator's.
    form : Form
        The form.
    surprise : float
        Logarithm of its latency relative to that of the fixed layouts, minus what the roofline says of it.
    """

    features: tuple[float, ...]
    form: Form
    surprise: float


class Option(NamedTuple):
    """A form that can be tried.

    Attributes
    ----------
    site : Site
        Of what.
    form : Form
        Which.
    """

    site: Site
    form: Form


class Proposer:
    """Says what to try next.

    Parameters
    ----------
    options : mapping of Option to float
        Everything that can be tried, each with the logarithm of its latency relative to the fixed layouts' by the
        roofline.
    seconds : mapping of Site to float
        What each operator costs the program now.
    measured : iterable of Measured
        What was measured earlier, of whatever operators.
    """

    def __init__(
        self, options: Mapping[Option, float], seconds: Mapping[Site, float], measured: Iterable[Measured] = ()
    ) -> None:
        self._open = dict(options)
        self._seconds = seconds
        self._best: dict[Site, float] = {}
        self._known: dict[str, list[Measured]] = {}
        for item in measured:
            self._known.setdefault(item.form.kind, []).append(item)

    def predict(self, option: Option) -> tuple[float, float]:
        """Logarithm of a form's latency relative to the fixed layouts', and its standard deviation."""
        here = option.site.features()
        weight = total = 0.0
        for item in self._known.get(option.form.kind, ()):
            distance = _distance(here, item.features) + _distance(_logs(option.form), _logs(item.form))
            closeness = _TRUST / (1 + (distance / _REACH) ** 2)
            weight += closeness
            total += closeness * item.surprise
        return self._open[option] + total / (1 + weight), _DOUBT / (1 + weight) ** 0.5

    def next(self, least: float) -> Option | None:
        """The form that could save the most seconds; None if none could save ``least``."""
        hopes = {option: self._hope(option) for option in self._open}
        best = max(hopes, key=lambda option: hopes[option], default=None)
        return None if best is None or hopes[best] < least or hopes[best] <= 0 else best

    def drop(self, option: Option) -> None:
        """Don't propose it any more."""
        del self._open[option]

    def learn(self, option: Option, ratio: float) -> Measured:
        """Take in the logarithm of a form's latency relative to the fixed layouts'."""
        self._best[option.site] = min(ratio, self._best.get(option.site, 0.0))
        item = Measured(option.site.features(), option.form, ratio - self._open.pop(option))
        self._known.setdefault(option.form.kind, []).append(item)
        return item

    def _hope(self, option: Option) -> float:
        mean, deviation = self.predict(option)
        return self._seconds[option.site] * (exp(self._best.get(option.site, 0.0)) - exp(mean - _OPTIMISM * deviation))


def _logs(form: Form) -> tuple[float, ...]:
    return tuple([log2(size) for size in form.sizes])


def _distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))
