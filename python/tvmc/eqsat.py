"""The option group "EqSat options" of ``compile`` and ``tune``, and the pass as both run it."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
from tvm.target import Target

from tvm_eqsat.options import EqSatOptions, presets

from .errors import TVMCException

if TYPE_CHECKING:
    from tvm_eqsat.cost.tuning import KernelTuner

_DEST = "eqsat_option_"


def add_eqsat_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--enable-eqsat``, and one ``--eqsat-OPTION`` for every option of the pass."""
    group = parser.add_argument_group("EqSat options", "EqSat options, used when --enable-eqsat is provided")
    group.add_argument(
        "--enable-eqsat", action="store_true", help="optimise the graph by equality saturation (EqSatOptimize)"
    )
    group.add_argument(
        "--eqsat-preset", metavar="NAME", help=f"options to start from; one of: {', '.join(presets()) or 'none'}"
    )
    group.add_argument("--eqsat-report", metavar="FILE", help="write a report of the optimisation as JSON")
    for option in fields(EqSatOptions):
        flag = "--eqsat-" + option.name.replace("_", "-")
        kwargs: dict[str, Any] = {"dest": _DEST + option.name, "default": None}
        default = option.default
        if isinstance(default, bool):
            kwargs["action"] = argparse.BooleanOptionalAction
        elif isinstance(default, tuple):
            kwargs |= {"type": _names, "metavar": "A,B"}
        else:
            kwargs |= {"type": type(default), "metavar": type(default).__name__.upper()}
        if choices := option.metadata.get("choices"):
            kwargs |= {"choices": choices, "metavar": None}
        shown = ",".join(default) if isinstance(default, tuple) else default
        default_text = f". Defaults to {shown}" if default is not MISSING and shown != "" else ""
        group.add_argument(flag, help=str(option.metadata.get("help", "")).replace("%", "%%") + default_text, **kwargs)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def eqsat_options(args: argparse.Namespace) -> EqSatOptions | None:
    """The options that the flags ask for; None without ``--enable-eqsat``.

    Raises
    ------
    TVMCException
        An EqSat flag was given without ``--enable-eqsat``.
    OptionError
        A preset or a value is wrong.
    """
    given = {
        dest.removeprefix(_DEST): value
        for dest, value in vars(args).items()
        if dest.startswith(_DEST) and value is not None
    }
    if not args.enable_eqsat:
        flags = [f"eqsat_{name}" for name in given]
        flags += [name for name in ("eqsat_preset", "eqsat_report") if getattr(args, name)]
        if flags:
            raise TVMCException(f"--{flags[0].replace('_', '-')} needs --enable-eqsat")
        return None
    if args.eqsat_preset:
        return EqSatOptions.preset(args.eqsat_preset, **given)
    return EqSatOptions(**given)


def optimise(
    mod: tvm.IRModule,
    target: Target,
    options: EqSatOptions,
    *,
    database: str | Path | None = None,
    trials: int = 0,
    tuner: KernelTuner | None = None,
) -> tuple[tvm.IRModule, Any]:
    """Run the pass; ``tune`` and ``compile`` both do it here, so that tuned kernels are found again.

    Returns
    -------
    tuple
        The module and the pass's report.
    """
    from tvm_eqsat.transform import EqSatOptimize  # loads every rule: not for `tvmc run`

    eqsat: Any = EqSatOptimize(options, target=target, database=database, trials=trials, tuner=tuner)
    with target:
        mod = eqsat(mod)
    return mod, eqsat.report
