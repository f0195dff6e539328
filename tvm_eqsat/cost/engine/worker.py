"""The worker process: compiles candidates with LLVM's JIT, keeps them, and times them when asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from . import wire


def main() -> None:
    """Serve requests from standard input until it closes."""
    requests, answers = os.dup(0), os.dup(1)
    # Whatever a candidate or LLVM prints must not end up between the messages.
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)
    compiled: dict[int, Any] = {}
    handlers: dict[str, Callable[..., Any]] = {"build": _build, "time": _time}
    wire.send(answers, (True, "ready"))
    while True:
        try:
            kind, *arguments = wire.receive(requests)
        except EOFError:
            return
        try:
            answer = (True, handlers[kind](compiled, *arguments))
        except Exception as err:
            answer = (False, f"{type(err).__name__}: {err}")
        wire.send(answers, answer)


def _build(compiled: dict[int, Any], token: int, module: str, target: str) -> None:
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    candidate = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(module))
    compiled[token] = tvm.driver.build(candidate, target=tvm.target.Target(json.loads(target)))


def _time(compiled: dict[int, Any], token: int, arguments: list[Any], config: dict[str, Any]) -> list[float]:
    import tvm

    module = compiled.pop(token)
    device = tvm.cpu()
    fill = tvm.get_global_func("tvm.contrib.random.random_fill_for_measure")
    tensors = []
    for kind, dtype, shape in arguments:
        if kind != "TENSOR":
            raise ValueError(f"the candidate has an argument of kind {kind}")
        tensors.append(tvm.runtime.empty(tuple(shape), dtype, device))
        fill(tensors[-1])
    flush = "cache_flush_cpu_non_first_arg" if config["enable_cpu_cache_flush"] else ""
    evaluator = module.time_evaluator(
        "main",
        device,
        number=config["number"],
        repeat=config["repeat"],
        min_repeat_ms=config["min_repeat_ms"],
        f_preproc=flush,
    )
    return [float(seconds) for seconds in evaluator(*tensors).results]


if __name__ == "__main__":
    main()
