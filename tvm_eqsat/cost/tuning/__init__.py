"""Tuning: spends a budget of trials on kernels, and on the choice among programs."""

from .local import local_tuner
from .outlook import Outlook
from .trials import run_trials
from .tuner import Batch, KernelTuner, batch_size, is_tunable

__all__ = ["Batch", "KernelTuner", "Outlook", "batch_size", "is_tunable", "local_tuner", "run_trials"]
