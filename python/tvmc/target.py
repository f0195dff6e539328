"""``--target``: what TVM 0.27 takes (JSON, tags, bare kinds), and the strings of older releases, which it doesn't."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

import tvm
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_cpu, llvm_get_system_triple, llvm_is_valid_cpu
from tvm.target.target import TargetKind

from tvm_eqsat.cost.threads import available_cores

from .errors import TVMCException, explained

Options = Mapping[str, Mapping[str, str]]

_CONFIGURABLE = {"int", "bool", "str", "Array<str>"}
_FLAG = "target_option"


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--target`` and one ``--target-KIND-OPTION`` for every option of every target kind."""
    group = parser.add_argument_group(
        "target options",
        "--target-KIND-OPTION=VALUE sets one option of the target, e.g. --target-llvm-mcpu=native",
    )
    group.add_argument(
        "--target",
        help="compilation target: a kind with options as in 'llvm -mcpu=native -num-cores=4', a tag, inline JSON or "
        "the path of a JSON file; 'KIND, HOST' names the host's too. Defaults to this machine's CPU",
    )
    for kind in Target.list_kinds():
        for option, type_ in TargetKind.options_from_name(kind).items():
            if type_ in _CONFIGURABLE:
                flag = f"--target-{kind}-{option}"
                group.add_argument(flag, dest=f"{_FLAG}:{kind}:{option}", default=None, help=argparse.SUPPRESS)


def target_options(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The ``--target-KIND-OPTION`` flags that were given, by kind."""
    options: dict[str, dict[str, str]] = {}
    for dest, value in vars(args).items():
        if dest.startswith(f"{_FLAG}:") and value is not None:
            _, kind, option = dest.split(":")
            options.setdefault(kind, {})[option] = value
    return options


def target_from_cli(text: str | None, options: Options | None = None) -> Target:
    """The target that ``--target`` describes.

    An ``llvm`` target without ``num-cores`` gets the number of cores that this process may use (MetaSchedule needs
    one); without any text it is this machine's CPU. ``-mcpu=native`` is this machine's.

    Parameters
    ----------
    text : str, optional
        A kind with options, a tag, JSON, or the path of a JSON file.
    options : dict of str to dict of str to str, optional
        Further options, by target kind.

    Raises
    ------
    TVMCException
        There is no such kind or option, or a value has the wrong type.
    """
    options = options or {}
    configs = _read(text if text is not None else "llvm -mcpu=native")
    if not configs or len(configs) > 2:
        raise TVMCException(f"target '{text}' names {len(configs)} targets; give one, or one and its host")
    kinds = [config["kind"] for config in configs if "kind" in config]
    for kind, extra in options.items():
        if kind not in kinds:
            raise TVMCException(f"--target-{kind}-{next(iter(extra))} was given, but the target is not {kind}")
    for config in configs:
        if config.get("kind") is not None:
            config.update(_typed(config["kind"], options.get(config["kind"], {})))
        if config.get("mcpu") == "native":
            config["mcpu"] = llvm_get_system_cpu()
        if config.get("kind") == "llvm":
            config.setdefault("num-cores", available_cores())
    if len(configs) == 2:
        configs[0]["host"] = configs[1]
    with explained(f"target '{text}'"):
        target = Target(configs[0])
    for part in configs:
        cpu = part.get("mcpu")
        triple = part.get("mtriple", llvm_get_system_triple())
        if part.get("kind") == "llvm" and cpu and not llvm_is_valid_cpu(cpu, triple):
            raise TVMCException(f"LLVM knows no CPU '{cpu}' for {triple}; `llc -mcpu=help` lists them")
    return target


def as_target(target: str | Target | None) -> Target:
    """A target, from one or from the text of ``--target``."""
    return target_from_cli(target) if target is None or isinstance(target, str) else target


def num_cores(target: Target) -> int:
    """The number of threads that kernels of this target are made for."""
    return int(target.attrs.get("num-cores", available_cores()))


def runs_here(target: Target) -> bool:
    """Whether code for this target needs no other CPU architecture than this machine's."""
    arch = llvm_get_system_triple().split("-")[0]
    return target.kind.name == "llvm" and str(target.attrs.get("mtriple", arch)).split("-")[0] == arch


def is_generic(target: Target) -> bool:
    """Whether the target uses none of the vector instructions that this machine's CPU has beyond the oldest model."""
    return runs_here(target) and not target.attrs.get("mcpu") and not target.attrs.get("mattr")


def _read(text: str) -> list[dict[str, Any]]:
    """Target configurations as TVM takes them: one, or one and its host."""
    if os.path.isfile(text):
        with explained(f"reading the target file '{text}'"), open(text, encoding="utf-8") as file:
            text = file.read()
        return [_from_json(text)]
    if text.lstrip().startswith("{"):
        return [_from_json(text)]
    if text in tvm.target.tag.list_tags():
        return [{"tag": text}]
    return [_from_words(words) for words in _split(text)]


def _from_json(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except json.JSONDecodeError as err:
        raise TVMCException(f"the target isn't valid JSON: {err}") from err
    if not isinstance(config, dict):
        raise TVMCException(f'the target must be a JSON object such as {{"kind": "llvm"}}, not {text.strip()}')
    if "kind" in config:
        _check_kind(config["kind"])
    return config


def _split(text: str) -> list[list[str]]:
    """The words of each of the comma-separated targets; a comma inside an option's value separates nothing."""
    try:
        words = shlex.split(text)
    except ValueError as err:
        raise TVMCException(f"target '{text}' can't be parsed: {err}") from err
    targets: list[list[str]] = [[]]
    for word in words:
        parts = word.split(",") if not targets[-1] else [word[:-1], ""] if word.endswith(",") else [word]
        for i, part in enumerate(parts):
            if i:
                targets.append([])
            if part:
                targets[-1].append(part)
    return [target for target in targets if target]


def _from_words(words: list[str]) -> dict[str, Any]:
    kind, *rest = words
    _check_kind(kind)
    options: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            raise TVMCException(f"target option '{word}' doesn't begin with '-'; write e.g. '{kind} -mcpu=native'")
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "1"
        options[name] = value
    return {"kind": kind, **_typed(kind, options)}


def _check_kind(kind: str) -> None:
    kinds = Target.list_kinds()
    if kind not in kinds:
        raise TVMCException(
            f"there is no target '{kind}'. Choices: {', '.join(sorted(kinds))}, or a tag such as nvidia/nvidia-a100"
        )


def _typed(kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Options as the types that the target kind declares for them."""
    types = TargetKind.options_from_name(kind)
    typed: dict[str, Any] = {}
    for name, text in options.items():
        type_ = types.get(name)
        if type_ not in _CONFIGURABLE:
            known = sorted(option for option, t in types.items() if t in _CONFIGURABLE)
            raise TVMCException(f"target {kind} has no option '{name}'; it has: {', '.join(known)}")
        try:
            typed[name] = _VALUE[str(type_)](text)
        except (KeyError, ValueError) as err:
            raise TVMCException(f"target option -{name}={text} is not valid: it takes {_NOUN[str(type_)]}") from err
    return typed


_BOOL = {"1": True, "true": True, "0": False, "false": False}
_VALUE: dict[str, Any] = {
    "int": int,
    "bool": lambda text: _BOOL[text.lower()],
    "str": str,
    "Array<str>": lambda text: [item.strip() for item in text.split(",") if item.strip()],
}
_NOUN = {"int": "a whole number", "bool": "0 or 1", "str": "a word", "Array<str>": "words separated by commas"}
