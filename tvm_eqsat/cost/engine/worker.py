"""The worker process: compiles candidates with LLVM's JIT, keeps them, and times them when asked."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import wire
from .timing import Arguments, Signature, windows

_LONGEST_MESSAGE = 4000  # characters: of a C++ back trace, the beginning and the end


@dataclass(frozen=True)
class Settings:
    """What all workers of a pool have in common.

    Parameters
    ----------
    cpus : list of int
        Logical CPUs that builds run on.
    timing_cpus : list of int
        Those that candidates run on, one for each thread.
    memory : int
        Bytes of data that a worker may hold: what allocates more fails.
    folder : str
        Where artifacts are.
    owner : int
        The process that the pool belongs to.
    """

    cpus: list[int]
    timing_cpus: list[int]
    memory: int
    folder: str
    owner: int


class Server:
    """The requests that a worker answers.

    Parameters
    ----------
    settings : Settings
        CPUs and memory.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.compiled: dict[str, Any] = {}
        self.arguments = Arguments()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Not RLIMIT_AS: that counts address space which is reserved and never used, too.
        resource.setrlimit(resource.RLIMIT_DATA, (settings.memory, settings.memory))
        os.sched_setaffinity(0, settings.cpus)

    def build(self, artifact: str) -> None:
        """Compile the candidate in a file down to machine code, and keep it.

        As it will be compiled for use, but for the checks of its arguments. They take some nanoseconds of a run, and a
        tenth of the time that compiling takes.
        """
        import tvm
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        module, target = json.loads(Path(artifact).read_text(encoding="utf-8"))
        candidate = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(module))
        with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
            compiled = tvm.tirx.build(candidate, target=_target(target))
        compiled["main"]  # generates the machine code: a third of the work, and not to be left for when it is timed
        self.compiled[artifact] = compiled

    def time(self, artifact: str, signature: Signature, config: dict[str, Any], best: float) -> list[float]:
        """Time a candidate that was compiled here."""
        module = self.compiled[artifact]
        # TVM makes its threads at the first run; they inherit these CPUs, and keep them.
        os.sched_setaffinity(0, self.settings.timing_cpus)
        try:
            return windows(module, self.arguments.of(signature), config, best)
        finally:
            os.sched_setaffinity(0, self.settings.cpus)

    def forget(self, artifacts: Iterable[str]) -> None:
        """Free candidates that nobody will ask for."""
        for artifact in artifacts:
            self.compiled.pop(artifact, None)


def serve(channel: int, settings: Settings) -> None:
    """Answer requests until the other side closes the channel."""
    server = Server(settings)
    while True:
        try:
            kind, *arguments = wire.receive(channel)
        except EOFError:
            return
        wire.send(channel, True)  # from here on, the request is to blame for what happens
        try:
            answer = (True, getattr(server, kind)(*arguments))
        except Exception as err:
            answer = (False, _shortened(f"{type(err).__name__}: {err}"))
        wire.send(channel, answer)


@lru_cache(maxsize=8)
def _target(description: str) -> Any:
    import tvm

    return tvm.target.Target(json.loads(description))


def _shortened(message: str) -> str:
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[: _LONGEST_MESSAGE // 2]}\n...\n{message[-_LONGEST_MESSAGE // 2 :]}"
