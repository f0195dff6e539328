"""Every option of :func:`EqSatOptimize <tvm_eqsat.transform.EqSatOptimize>`, in one frozen dataclass with presets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _option(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class EqSatOptions:
    """Options of the pass. Immutable; :meth:`preset` and :meth:`with_` make changed copies.

    Raises
    ------
    OptionError
        A value has the wrong type or is out of range; the message lists what is valid.
    """

    numerics: str = _option(
        "reassociate",
        "'reassociate' allows rules that change rounding; 'strict' uses only rules that keep every rounding",
        choices=("reassociate", "strict"),
    )
    exclude_rules: tuple[str, ...] = _option((), "names of rules to leave out")
    node_limit: int = _option(20_000, "e-nodes at which saturation stops", low=1)
    restarts: int = _option(
        2, "how often saturation starts again from the best program, after the node limit has ended it", low=0
    )
    schedule: str = _option(
        "backoff",
        "how e-graphs are grown: 'backoff' applies all rules to the whole program, 'mcts' then searches for the "
        "regions and rules that deserve the node limit",
        choices=("backoff", "mcts"),
    )
    simulations: int = _option(200, "the most simulations of schedule='mcts'", low=0)
    search_time: float = _option(
        300.0, "seconds at which schedule='mcts' stops; a run that this limit stops isn't reproducible", low=0
    )
    reward: str = _option(
        "bundles",
        "how schedule='mcts' judges e-graphs: 'bundles' by local search, 'sharing' as the PACT 2024 paper does",
        choices=("bundles", "sharing"),
    )
    iter_limit: int = _option(20, "rounds over all rules at which saturation stops", low=0)
    time_limit: float = _option(
        60.0, "seconds at which saturation stops; a run that this limit stops isn't reproducible", low=0
    )
    match_limit: int = _option(2_000, "matches of one rule in one round before it backs off", low=1)
    reuse_blocks: bool = _option(
        True, "optimise a block that repeats in a row (a transformer layer, say) once for all its copies"
    )
    layouts: str = _option(
        "fixed",
        "how freely layouts are chosen: 'none' leaves them as imported, 'conversions' only cancels conversions that "
        "are there, 'fixed' adds channels last, 'joint' also searches for forms of operators, with layouts and tiles "
        "of their own, when it tunes",
        choices=("none", "conversions", "fixed", "joint"),
    )
    partial: str | bool = _option(
        "auto",
        "for which operators partially equivalent programs are looked for, and made exact (PET): 'auto' takes "
        "expensive dilated and transposed convolutions, 'all' (or True) every expensive convolution and product, "
        "'none' (or False) nothing",
        choices=("auto", "all", "none"),
    )
    partial_limit: int = _option(6, "mutants of each expensive operator that are added to the e-graph", low=1)
    partial_time: float = _option(
        60.0, "seconds at which the search for mutants stops; a run that this limit stops isn't reproducible", low=0
    )
    extractor: str = _option("local", "how the cheapest program is searched for, by name: see tvm_eqsat.extract")
    candidates: int = _option(3, "extracted programs that are priced after TVM's real fusion", low=1)
    fold_limit: int = _option(256 << 20, "bytes above which the result of a constant subgraph isn't folded", low=0)
    prepack: bool = _option(
        False, "price and tune kernels as they are when weights are stored in the layout that a tuned kernel chooses"
    )
    progress: bool = _option(
        True, "show the progress of tree search and tuning: a bar on a terminal, log lines elsewhere"
    )
    verify: bool = _option(False, "run the original and the result on random inputs and compare")
    on_mismatch: str = _option(
        "raise", "when verify finds a difference: 'raise', or return the 'original'", choices=("raise", "original")
    )
    seed: int = _option(0, "seed of everything random", low=0)

    def __post_init__(self) -> None:
        if isinstance(self.partial, bool):
            object.__setattr__(self, "partial", "all" if self.partial else "none")
        for f in fields(self):
            value = _coerce(f.name, f.default, getattr(self, f.name))
            object.__setattr__(self, f.name, value)
            choices = f.metadata.get("choices")
            if choices and value not in choices:
                raise OptionError(f"option {f.name}={value!r} is not valid; choose from: {', '.join(choices)}")
            if "low" in f.metadata and value < f.metadata["low"]:
                raise OptionError(f"option {f.name}={value!r} is too small; the least is {f.metadata['low']}")
        from .extract import EXTRACTORS

        if self.extractor not in EXTRACTORS:
            raise OptionError(
                f"option extractor={self.extractor!r} is not valid; choose from: {', '.join(sorted(EXTRACTORS))}"
            )

    def with_(self, **changes: Any) -> EqSatOptions:
        """A copy with some options changed.

        Raises
        ------
        OptionError
            There is no such option, or its value is wrong.
        """
        _check_names(changes, "options")
        return replace(self, **changes)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> EqSatOptions:
        """The options of a preset (a file ``configs/NAME.toml``), with some changed.

        Raises
        ------
        OptionError
            There is no such preset, it can't be read, or an option is wrong.
        """
        found = presets()
        if name not in found:
            raise OptionError(f"no preset is named {name!r}; choose from: {', '.join(sorted(found))}")
        try:
            values = tomllib.loads(found[name].read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as err:
            raise OptionError(f"preset {found[name].name} can't be read: {err}") from err
        _check_names(values, f"preset {found[name].name}")
        return cls(**values).with_(**changes)


def presets() -> dict[str, Path]:
    """Name and file of every preset that ships with the package."""
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parent / "configs"):  # as a wheel, in a checkout
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return {}


def _check_names(values: Mapping[str, Any], where: str) -> None:
    known = [f.name for f in fields(EqSatOptions)]
    for name in values:
        if name not in known:
            raise OptionError(f"{where}: there is no option {name!r}; the options are: {', '.join(known)}")


def _coerce(name: str, default: Any, value: Any) -> Any:
    """``value`` as the option's type; only lossless conversions."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(default, float):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(default, str):
        if isinstance(value, str | Path):
            return str(value)
    elif isinstance(default, tuple) and not isinstance(value, str):
        try:
            items = tuple(value)
        except TypeError:
            items = (None,)
        if all(isinstance(v, str) for v in items):
            return items
    kind = "a sequence of names" if isinstance(default, tuple) else type(default).__name__
    raise OptionError(f"option {name}={value!r} is not valid; it takes {kind}, e.g. {default!r}")
