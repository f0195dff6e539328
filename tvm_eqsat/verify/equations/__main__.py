"""``python -m tvm_eqsat.verify.equations FILE``: check a file of equations."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from ...errors import EqSatError
from .check import Report, Status, check_file


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 once the file was checked, 2 if it can't be read."""
    parser = _Parser(
        prog="python -m tvm_eqsat.verify.equations",
        description="Prove equations between tensor terms with the rewrite rules, or say what is wrong with them.",
    )
    parser.add_argument("file", metavar="FILE", help="equations in TASO's notation, one a line: lhs==rhs")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as the last line")
    args = parser.parse_args(argv)
    try:
        report = check_file(args.file)
    except (EqSatError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(report.to_json()))
    else:
        _print(report)
    return 0


def _print(report: Report) -> None:
    """Counts, then every equation that wasn't proved."""
    for status in Status:
        print(f"{status.value:<14} {report.count(status)}")
    print(f"{'seconds':<14} {report.seconds:.1f}")
    for verdict in report.verdicts:
        if verdict.status is not Status.PROVED:
            print(f"\nline {verdict.line}: {verdict.status.value}: {verdict.reason}\n    {verdict.text}")


if __name__ == "__main__":
    sys.exit(main())
