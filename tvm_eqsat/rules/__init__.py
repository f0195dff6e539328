"""The rewrite rules, grouped by subject. A new rule goes into the file of its subject and is then in :data:`ALL`."""

from .concat import CONCAT
from .conv import CONV
from .dsl import Term, attributes, each, op, rest, tensors
from .identities import IDENTITIES
from .matmul import MATMUL
from .norm import NORM
from .pool import POOL
from .rule import Rule, RuleSet
from .shape import SHAPE

#: Every rule of the package.
ALL = IDENTITIES + SHAPE + CONCAT + MATMUL + CONV + POOL + NORM

__all__ = ["ALL", "Rule", "RuleSet", "Term", "attributes", "each", "op", "rest", "tensors"]
