"""``--opt-level``, ``--pass-config``, ``--disabled-pass``: the context that TVM's passes run in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tvm.ir.instrument import PassInstrument
from tvm.ir.transform import PassContext

from .errors import TVMCException


def pass_context(
    opt_level: int, configs: Sequence[str], disabled: Sequence[str], instruments: Sequence[PassInstrument]
) -> PassContext:
    """The context of a compilation; ``configs`` are of the form ``name=value``."""
    return PassContext(
        opt_level=opt_level, config=_parse_configs(configs), disabled_pass=list(disabled), instruments=list(instruments)
    )


def _parse_configs(configs: Sequence[str]) -> dict[str, Any]:
    """``name=value`` as the types that TVM declares for its pass options."""
    known: Mapping[str, Any] = PassContext.list_configs()
    parsed: dict[str, Any] = {}
    for config in configs:
        name, equals, value = config.partition("=")
        if not equals:
            raise TVMCException(f"--pass-config {config} is not of the form name=value")
        if name not in known:
            raise TVMCException(f"there is no pass option '{name}'. Choices: {', '.join(sorted(known))}")
        kind = str(known[name]["type"])
        try:
            if kind == "bool":
                parsed[name] = {"true": True, "1": True, "false": False, "0": False}[value.lower()]
            elif kind in ("int", "ir.IntImm"):
                parsed[name] = int(value)
            else:
                parsed[name] = json.loads(value)
        except (KeyError, ValueError) as err:
            raise TVMCException(f"--pass-config {config}: '{value}' is not a value of type {kind}") from err
    return parsed
