"""``--input-shapes "data:[1,3,224,224] mask:[1,-1]"``."""

from __future__ import annotations

import argparse
import re

_NAME = r"(?P<name>[^\s\[\]]+?)"
_DIMS = r"\[\s*(?P<dims>(?:-?\d+\s*(?:,\s*-?\d+\s*)*)?)\]"
_INPUT = re.compile(rf"\s*,?\s*{_NAME}\s*:\s*{_DIMS}")


def parse_shape_string(text: str) -> dict[str, list[int]]:
    """The shape of every named input; a negative dimension is dynamic.

    Names may hold colons, dots and slashes.

    Raises
    ------
    argparse.ArgumentTypeError
        The text isn't of this form, or names an input twice.
    """
    shapes: dict[str, list[int]] = {}
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _INPUT.match(text, at)
        if match is None:
            break
        if match["name"] in shapes:
            raise argparse.ArgumentTypeError(f"--input-shapes gives '{match['name']}' twice")
        shapes[match["name"]] = [int(dim) for dim in match["dims"].split(",") if dim.strip()]
        at = match.end()
    if at < len(text) or not shapes:
        raise argparse.ArgumentTypeError(
            '--input-shapes argument must be of the form "input_name:[dim1,dim2,...,dimn] input_name2:[dim1,dim2]", '
            f"which '{text[at:] or text}' is not"
        )
    return shapes
