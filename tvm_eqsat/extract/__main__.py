"""``python -m tvm_eqsat.extract FILE``: extract from an e-graph in a file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from ..egraph.serialize import load
from ..errors import EqSatError
from .base import EXTRACTORS, extract


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _Parser(prog="python -m tvm_eqsat.extract", description="Extract the cheapest program of an e-graph.")
    parser.add_argument("file", metavar="FILE", help="egraph-serialize JSON, or extraction-gym CSV (name ends in .csv)")
    parser.add_argument("--extractor", default="auto", metavar="NAME", help=f"one of {', '.join(sorted(EXTRACTORS))}")
    parser.add_argument("--time-limit", type=_seconds, metavar="S", help="seconds; without it, every run is the same")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what the extractor draws at random")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as the last line")
    args = parser.parse_args(argv)
    try:
        frozen = load(args.file)
        start = time.perf_counter()
        result = extract(frozen, args.extractor, seed=args.seed, time_limit=args.time_limit)
        seconds = time.perf_counter() - start
    except (EqSatError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    bound = result.lower_bound
    if args.json:
        fields = {"cost": result.cost, "lower_bound": bound, "seconds": seconds, "extractor": args.extractor}
        print(json.dumps(fields))
    else:
        print(f"cost         {result.cost:.9g}")
        print(f"lower_bound  {'no bound' if bound is None else format(bound, '.9g')}")
        print(f"seconds      {seconds:.3f}")
        print(f"extractor    {args.extractor}")
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
