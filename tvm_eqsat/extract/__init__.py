"""Choosing the cheapest program of an e-graph. One file per extractor, all in :data:`EXTRACTORS`."""

from . import greedy_dag, local, tree
from .base import EXTRACTORS, Extraction, check, extract

__all__ = ["EXTRACTORS", "Extraction", "check", "extract", "greedy_dag", "local", "tree"]
