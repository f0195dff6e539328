"""tvmc: compile, tune and run models with TVM from the command line.

Exit codes: 0 done; 1 no subcommand; 2 malformed arguments; 4 an error that the message explains; 5 a package is
missing; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

import tvm

from tvm_eqsat import __version__
from tvm_eqsat.errors import EqSatError
from tvm_eqsat.install import check_installation
from tvm_eqsat.interrupt import INTERRUPTED

from .autotuner import add_tune_parser
from .compiler import add_compile_parser
from .errors import TVMCImportError
from .runner import add_run_parser

_META_SCHEDULE = "tvm.s_tir.meta_schedule"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tvmc",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="TVM compiler driver",
        epilog=__doc__,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="increase verbosity")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands")
    add_compile_parser(subparsers)
    add_tune_parser(subparsers)
    add_run_parser(subparsers)
    return parser


def _version() -> str:
    return f"tvmc {__version__} (TVM {tvm.__version__})"


def _set_verbosity(verbose: int) -> None:
    """Warnings by default, then information, then everything, on stderr. MetaSchedule is told to say less."""
    level = max(logging.DEBUG, logging.WARNING - 10 * verbose)
    logging.getLogger(_META_SCHEDULE).setLevel(level if verbose else logging.ERROR)
    for name in ("TVMC", "tvm_eqsat"):
        logging.getLogger(name).setLevel(level)
    # MetaSchedule's own set-up fails over any handler of its logger that it hasn't made: its parent gets ours.
    for name in ("TVMC", "tvm_eqsat", _META_SCHEDULE.rpartition(".")[0]):
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if handler.get_name() == "tvmc"]:
            logger.removeHandler(handler)
        handler = logging.StreamHandler()
        handler.set_name("tvmc")
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
    logging.getLogger("tvm_eqsat.progress").setLevel(min(level, logging.INFO))  # a sign of life while tuning


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default, those of the process.

    Raises
    ------
    SystemExit
        With code 2, when the arguments are malformed; with 0, after ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    outcome: dict[str, Any] = {}
    code = 0
    try:
        parser = _parser()
        args = parser.parse_args(argv)
        if args.version:
            print(_version())
            return 0
        if not hasattr(args, "func"):
            parser.print_help(sys.stderr)
            return 1
        _set_verbosity(args.verbose)
        check_installation()
        outcome = args.func(args)
        code = outcome.pop("exit_code", 0)
    except EqSatError as err:
        code = 5 if isinstance(err, TVMCImportError) else 4
        outcome = {"error": str(err)}
        print(f"Error: {err}", file=sys.stderr)
    except KeyboardInterrupt:
        code = INTERRUPTED
        outcome = {"error": "interrupted"}
        print("Interrupted", file=sys.stderr)
    if "--json" in argv:
        sys.stdout.flush()
        print(json.dumps({**outcome, "exit_code": code}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
