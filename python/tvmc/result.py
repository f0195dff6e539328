"""What a run gives: outputs and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .files import replacing


class TVMCResult:
    """Outputs and times of a run.

    Parameters
    ----------
    outputs : dict of str to numpy.ndarray
        The tensors, called output_0, output_1, ...
    times : sequence of float
        Seconds per execution, one mean per repeat.
    profile : str
        A table of the time per kernel; empty without ``profile=True``.
    threads : int, optional
        Threads that the kernels ran on.
    """

    def __init__(
        self, outputs: Mapping[str, np.ndarray], times: Sequence[float], profile: str = "", threads: int | None = None
    ) -> None:
        self.outputs = dict(outputs)
        self.times = list(times)
        self.profile = profile
        self.threads = threads

    def statistics(self) -> dict[str, float]:
        """Mean, median, max, min and std of the times, in milliseconds."""
        times = np.array(self.times) * 1e3
        return {
            "mean": float(np.mean(times)),
            "median": float(np.median(times)),
            "max": float(np.max(times)),
            "min": float(np.min(times)),
            "std": float(np.std(times)),
        }

    def format_times(self) -> str:
        """The statistics as a small table."""
        statistics = self.statistics()
        header = "".join(f"{f'{name} (ms)':^14}" for name in statistics)
        values = "".join(f"{value:^14.4f}" for value in statistics.values())
        return f"Execution time summary:\n{header.rstrip()}\n{values.rstrip()}\n"

    def get_output(self, name: str) -> np.ndarray:
        """The output of this name."""
        return self.outputs[name]

    def top(self, n: int) -> np.ndarray:
        """Indices (first row) and values (second row) of the ``n`` greatest numbers in output_0."""
        flat = np.asarray(self.outputs["output_0"], dtype="float64").ravel()
        order = np.argsort(-flat, kind="stable")[:n]
        return np.array([order, flat[order]])

    def save(self, path: str | Path) -> None:
        """Write the outputs as an .npz file; bfloat16 and float8, which NumPy can't store, as float32."""
        arrays = {name: x.astype("float32") if x.dtype.kind == "V" else x for name, x in self.outputs.items()}
        with replacing(path) as scratch, scratch.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.format_times()}\nOutput Names:\n {list(self.outputs)}"
