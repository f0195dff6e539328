"""Settings of the whole test suite."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker a core: threads inside TVM, BLAS and onnxruntime would only get in each other's way.
    # Before anything imports them, since they read it once.
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# What a shell starts in the background ignores Ctrl-C, and so does all that is started from there; tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("default")
