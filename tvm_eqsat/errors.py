"""Every exception the package raises on purpose.

All derive from :class:`EqSatError`, so ``except tvm_eqsat.EqSatError`` catches what is the caller's to mend.
A message says what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class EqSatError(Exception):
    """Base class of every error raised by tvm-eqsat."""


class InstallationError(EqSatError):
    """An installed package has a version that is known not to work."""


class OptionError(EqSatError, ValueError):
    """An option, preset or argument has a wrong name or value."""


class IllTyped(EqSatError, TypeError):
    """An operator can't be applied to operands of these types.

    Rules rely on it: a right-hand side that raises it is simply not added to the e-graph.
    """


class ImportFailure(EqSatError):
    """A Relax module holds something that can't be read, not even as an opaque operator."""


class RuleError(EqSatError):
    """A rule record is malformed, or two rules share a name."""


class ExtractionError(EqSatError):
    """No program can be extracted, or an extractor returned an invalid one."""


class FormatError(EqSatError, ValueError):
    """A file (e-graph, preset, tuning record) isn't in the format it claims."""


class VerificationError(EqSatError):
    """The rewritten module's outputs differ from the original's."""


class MeasurementError(EqSatError):
    """A kernel or a module couldn't be built or timed."""
