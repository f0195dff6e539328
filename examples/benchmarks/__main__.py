"""Run every benchmark that needs no tuning: ``python -m examples.benchmarks [--json]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from . import engine, extraction, pass_time, repeats

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "engine": engine.run,
    "extraction": extraction.run,
    "pass_time": pass_time.run,
    "repeats": repeats.run,
}


def main() -> int:
    """Run them one after the other."""
    if set(sys.argv[1:]) - {"--json"}:
        print("usage: python -m examples.benchmarks [--json]", file=sys.stderr)
        return 2
    results = {name: run() for name, run in BENCHMARKS.items()}
    if "--json" in sys.argv:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
