"""Extraction: pick the cheapest program of an e-graph. One file per extractor, one check that every result passes."""

from . import auto, greedy_dag, ilp, lns, local, tree  # noqa: F401 - each registers itself
from .base import EXTRACTORS, Extraction, Extractor, check, extract, register
from .candidates import extract_candidates

__all__ = [
    "EXTRACTORS",
    "Extraction",
    "Extractor",
    "check",
    "extract",
    "extract_candidates",
    "register",
]
