"""Latencies of kernels that were never measured, learned from those that were."""

from .predictor import Predictor
from .records import Sample, read_samples

__all__ = ["Predictor", "Sample", "read_samples"]
