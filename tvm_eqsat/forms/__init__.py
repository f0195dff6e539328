"""Forms of single operators, with layouts and tiles of their own: proposed, measured, and offered to the e-graph (ALT).

The rules of :mod:`tvm_eqsat.rules.layouts.forms` have sizes to be chosen. For each costly operator of a program,
:mod:`.proposals` lists what is possible, :mod:`.proposer` says what to try next, by what was measured of similar
operators, :mod:`.alone` makes a program of the operator and the form, :mod:`.search` measures it, :mod:`.records` keeps
that, and :mod:`.table` makes rules of what was good.
"""

from .form import Form
from .site import Site, sites_of

__all__ = ["Form", "Site", "sites_of"]
