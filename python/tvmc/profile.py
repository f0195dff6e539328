"""``--profile``: where the time of a run goes."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import tvm


class KernelTimes:
    """An instrument of the virtual machine that adds up the time of each kernel.

    Parameters
    ----------
    device : tvm.runtime.Device
        The device; it is waited for around each call.
    """

    def __init__(self, device: tvm.runtime.Device) -> None:
        self.device = device
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._started: list[float] = []

    def __call__(self, _function: Any, symbol: str, before_run: bool, _result: Any, *_args: Any) -> int:
        """Called before and after each call; 0 lets it go on."""
        self.device.sync()
        if before_run:
            self._started.append(time.perf_counter())
        else:
            self.seconds[symbol] += time.perf_counter() - self._started.pop()
            self.calls[symbol] += 1
        return 0

    def table(self) -> str:
        """Kernels with their calls, milliseconds and share of the sum, slowest first; the machine's own as one row."""
        rows: dict[str, tuple[int, float]] = {}
        for symbol, seconds in self.seconds.items():
            name = "(virtual machine)" if symbol.startswith("vm.builtin.") else symbol
            calls, before = rows.get(name, (0, 0.0))
            rows[name] = (calls + self.calls[symbol], before + seconds)
        total = sum(seconds for _, seconds in rows.values()) or 1.0
        width = max(map(len, rows), default=4)
        lines = [f"{'name':{width}} {'calls':>6} {'time (ms)':>10} {'share':>6}"]
        for name, (calls, seconds) in sorted(rows.items(), key=lambda row: -row[1][1]):
            lines.append(f"{name:{width}} {calls:6} {seconds * 1e3:10.4f} {seconds / total:6.1%}")
        return "\n".join(lines)
