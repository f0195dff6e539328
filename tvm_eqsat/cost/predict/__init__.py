"""Latencies of kernels that were never measured, learned from those that were."""

from .predictor import Predictor
from .records import Records, Sample

__all__ = ["Predictor", "Records", "Sample"]
