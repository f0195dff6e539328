"""The e-graph: hash-consing, union-find, deferred rebuild, analysis, compiled patterns, snapshots."""

from .egraph import EGraph
from .frozen import FrozenEGraph
from .matcher import JoinMatcher, Matcher, compile_join, compile_pattern
from .pattern import ANY, AttrVar, Each, Pat, Rest, Var
from .tables import Snapshot

__all__ = [
    "ANY",
    "AttrVar",
    "EGraph",
    "Each",
    "FrozenEGraph",
    "JoinMatcher",
    "Matcher",
    "Pat",
    "Rest",
    "Snapshot",
    "Var",
    "compile_join",
    "compile_pattern",
]
