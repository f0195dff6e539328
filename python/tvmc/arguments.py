"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse

from .frontends import FRONTENDS
from .shape_parser import parse_shape_string


def comma_separated(text: str) -> list[str]:
    """The names in a comma-separated list, which may stand in brackets."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every subcommand takes."""
    parser.add_argument(
        "-v", "--verbose", action="count", default=argparse.SUPPRESS, help="increase verbosity; -vv for tracebacks"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model file and how to read it."""
    parser.add_argument("FILE", help="path to the input model file")
    parser.add_argument(
        "--model-format", help=f"input model format, one of: {', '.join(FRONTENDS)}. Defaults to what the suffix says"
    )
    parser.add_argument(
        "--input-shapes",
        type=parse_shape_string,
        metavar="SHAPES",
        help="shapes that the model leaves open, e.g. 'data:[1,3,224,224] mask:[1,-1]'; negative stays dynamic",
    )


def add_rpc_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where to find a remote device."""
    parser.add_argument(
        "--rpc-tracker",
        help="hostname (required) and port (optional, defaults to 9090) of the RPC tracker, e.g. '192.168.0.100:9999'",
    )
    parser.add_argument("--rpc-key", help="the RPC tracker key of the target device")
