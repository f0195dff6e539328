"""What a measured latency depends on besides the kernel: target, host, version of TVM, how it was measured."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tvm
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig
from tvm.target import Target, codegen


@dataclass(frozen=True)
class Settings:
    """How latencies are measured.

    Attributes
    ----------
    threads : int
        Threads that a kernel runs on.
    number, repeat : int
        A latency is the mean over ``number`` runs; there are ``repeat`` of them, for a hopeless
        schedule fewer.
    min_repeat_ms : int
        ``number`` grows until they take as long, in milliseconds.
    cache_flush : bool
        Whether operands but the first are flushed from the caches before each run.
    """

    threads: int
    number: int = 1
    repeat: int = 1
    min_repeat_ms: int = 40
    cache_flush: bool = False

    @classmethod
    def of(cls, config: EvaluatorConfig, threads: int) -> Settings:
        """The settings of MetaSchedule's runners, with the number of threads that kernels run on."""
        number, repeat, min_repeat_ms, flush = config
        return cls(threads, int(number), int(repeat), int(min_repeat_ms), bool(flush))


@dataclass(frozen=True)
class Provenance:
    """Where, with what and how a latency was measured; None is unknown, or any.

    Attributes
    ----------
    host : str or None
        The machine, as :func:`this_host` calls it.
    tvm : str or None
        The version of TVM.
    settings : Settings or None
        How it was measured.
    """

    host: str | None = None
    tvm: str | None = None
    settings: Settings | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Provenance | None:
        """The inverse of :meth:`to_json`; None if that isn't what it is."""
        host, version, settings = value.get("host"), value.get("tvm"), value.get("settings")
        if not isinstance(host, str | None) or not isinstance(version, str | None):
            return None
        try:
            return cls(host, version, None if settings is None else Settings(**settings))
        except TypeError:
            return None

    def compares_with(self, wanted: Provenance, trust_unknown_host: bool) -> bool:
        """Whether a latency measured like this answers for another."""
        if self.host is None and not trust_unknown_host:
            return False
        return all(
            mine is None or theirs is None or mine == theirs
            for mine, theirs in ((self.host, wanted.host), (self.tvm, wanted.tvm), (self.settings, wanted.settings))
        )


@cache
def this_host() -> str:
    """The machine, as far as latencies go: CPU, number of cores, system. No name of it or of a user."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        model = named[0] if named else model
    cpu = codegen.llvm_get_system_cpu()
    return f"{model} ({cpu}), {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def this_version() -> str:
    """The version of TVM."""
    return str(tvm.__version__)


def target_identity(target: Target, *, cores: bool = True) -> str:
    """What of a target decides the code and its speed; without ``cores``, the code alone."""
    attributes = dict(target.export())
    triple = str(attributes.pop("mtriple", "")) or codegen.llvm_get_system_triple()
    for name in ("tag", "keys", "host", *([] if cores else ["num-cores"])):
        attributes.pop(name, None)
    return json.dumps({**attributes, "architecture": triple.split("-")[0]}, sort_keys=True, default=str)


def recorded_identity(target: dict[str, Any], *, cores: bool = True) -> str:
    """The identity of a target as a record holds it; empty if it is none that this TVM knows."""
    try:
        return target_identity(Target(target), cores=cores)
    except Exception:  # a target of another TVM version: whatever it raises, the record isn't ours
        return ""
