"""The rewrite rules, grouped by subject. A new rule goes into the file of its subject and is then in :data:`ALL`."""

from .algebra import ALGEBRA
from .concat import CONCAT
from .conv import CONV
from .conv_merge import CONV_MERGE
from .dsl import Term, attributes, each, op, rest, tensors
from .identities import IDENTITIES
from .layouts import COMPOSE as LAYOUTS
from .layouts import blocked_layouts
from .matmul import MATMUL
from .norm import NORM
from .pool import POOL
from .reduce import REDUCE
from .rule import Rule, RuleSet
from .shape import SHAPE
from .slices import SLICES
from .winograd import WINOGRAD

#: Every rule that can make a program cheaper: what the pass uses.
ALL = IDENTITIES + SHAPE + CONCAT + SLICES + MATMUL + CONV + CONV_MERGE + WINOGRAD + POOL + REDUCE + NORM + LAYOUTS

# ALGEBRA stands beside it: laws that only enlarge the space. Proofs, and exploration, add them.

__all__ = [
    "ALGEBRA",
    "ALL",
    "WINOGRAD",
    "Rule",
    "RuleSet",
    "Term",
    "attributes",
    "blocked_layouts",
    "each",
    "op",
    "rest",
    "tensors",
]
