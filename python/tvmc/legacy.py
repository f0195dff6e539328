"""Flags of the former tvmc that made sense for Relay only: refused by name, with what to use instead."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import TVMCException

_PASS = "run relax.transform.{} in Python, save the module with tvmc.TVMCModel(mod).save('model.json'), compile that"
_LAYOUT = _PASS.format("ConvertLayout") + "; or let --enable-eqsat choose"
_PRECISION = _PASS.format("ToMixedPrecision")
_EXECUTOR = "Relax has one executor, its virtual machine; leave the flag out"
_POOLS = "workspace pools went with microTVM; Relax plans memory itself"
_HARDWARE = "MetaSchedule takes the hardware from the target, e.g. --target 'llvm -num-cores=4'"
_MICRO = "microTVM left TVM"

_BOTH = {
    "--config": "JSON configuration files aren't read; give the flags, or --eqsat-preset",
    "--desired-layout": _LAYOUT,
    "--desired-layout-ops": _LAYOUT,
    "--mixed-precision": _PRECISION,
    "--mixed-precision-ops": _PRECISION,
    "--mixed-precision-calculation-type": _PRECISION,
    "--mixed-precision-acc-type": _PRECISION,
    "--target-host": "name the host in the target: --target 'cuda, llvm -mcpu=native'",
}

REFUSED: Mapping[str, Mapping[str, str]] = {
    "compile": {
        **_BOTH,
        "--executor": _EXECUTOR,
        "--runtime": "Relax has one runtime; leave the flag out",
        "--use-vm": _EXECUTOR,
        "--dump-offloads": "offloading by BYOC is done in Python before compiling; --dump-code relax shows the module",
        "--workspace-pools": _POOLS,
        "--executor-graph-link-params": "weights are always part of the library",
        "--executor-aot-interface-api": _EXECUTOR,
        "--executor-aot-unpacked-api": _EXECUTOR,
        "--executor-aot-workspace-byte-alignment": _EXECUTOR,
        "--runtime-cpp-system-lib": "Relax has one runtime; leave the flag out",
        "--runtime-crt-system-lib": _MICRO,
    },
    "tune": {
        **_BOTH,
        "--enable-autoscheduler": "the auto-scheduler left TVM; MetaSchedule tunes without a flag",
        "--tuner": "AutoTVM left TVM; MetaSchedule has one tuner, evolutionary search with a learned cost model",
        "--early-stopping": "MetaSchedule spends trials where they help most; lower --trials",
        "--num-cores": _HARDWARE,
        "--cache-line-bytes": _HARDWARE,
        "--vector-unit-bytes": _HARDWARE,
        "--max-shared-memory-per-block": _HARDWARE,
        "--max-local-memory-per-block": _HARDWARE,
        "--max-threads-per-block": _HARDWARE,
        "--max-vthread-extent": _HARDWARE,
        "--warp-size": _HARDWARE,
        "--include-simple-tasks": "MetaSchedule tunes every kernel; choose with --tasks",
        "--log-estimated-latency": "the estimate is part of the progress line",
    },
    "run": {
        "--config": _BOTH["--config"],
        "--options": _MICRO,
        "--list-options": _MICRO,
        "--project-option": _MICRO,
        "--profile-options": "PAPI counters aren't read; --profile shows the time per kernel",
    },
}


class _Refuse(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        raise TVMCException(f"{option_string} is not available: {self.const}")


def refuse_legacy_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """Make the parser explain each of these flags instead of calling it unknown."""
    for flag, advice in REFUSED[command].items():
        parser.add_argument(
            flag, action=_Refuse, nargs="?", const=advice, dest=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
