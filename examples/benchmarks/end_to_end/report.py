"""What the comparison found: geometric means, tables, and the bars of the chart."""

from __future__ import annotations

import os
from statistics import geometric_mean
from typing import Any

from rich.console import Console
from rich.table import Table

from .comparison import BY_HAND, EQUAL, ORT, OTHERS, OURS, TVM, tuned

Result = dict[str, Any]


def columns(equal: str) -> dict[str, str]:
    """Keys of the programs in one comparison, by label; the first is what the others are compared with."""
    return {**{label: tuned(label, equal) for label in (TVM, BY_HAND, OURS)}, ORT: ORT, **{o: o for o in OTHERS}}


def geometric_means(models: dict[str, Result], equal: str) -> dict[str, dict[str, Any]]:
    """For each label but EqSatOptimize's, how many times as fast EqSatOptimize's programs are, where both exist."""
    keys = columns(equal)
    ours = keys.pop(OURS)
    found = {}
    for label, key in keys.items():
        ratios = {name: model["speedups"].get(ours, {}).get(key) for name, model in models.items()}
        known = {name: ratio for name, ratio in ratios.items() if ratio}
        if known:
            worst = min(known, key=lambda name: known[name])
            mean = geometric_mean(known.values())
            found[label] = {"speedup": mean, "models": len(known), "worst": known[worst], "worst_model": worst}
    return found


def summary(models: dict[str, Result], equal: str) -> dict[str, Any]:
    """Geometric means of each comparison that was made."""
    return {each: geometric_means(models, each) for each in EQUAL[equal]}


def bars(models: dict[str, Result], equal: str) -> dict[str, dict[str, float]]:
    """For each model, how many times as fast as TVM with MetaSchedule every program is."""
    keys = columns(equal)
    base = keys[TVM]
    return {
        name: {label: model["speedups"][key][base] for label, key in keys.items() if key in model["speedups"]}
        for name, model in models.items()
    }


def show(result: Result) -> None:
    """Print a table for each comparison."""
    console = Console(width=max(150, int(os.environ.get("COLUMNS", 0) or 0)))
    for equal in EQUAL[result["settings"]["equal"]]:
        console.print(_table(result, equal))
        for label, mean in result["summary"][equal].items():
            console.print(
                f"{OURS} against {label}: {mean['speedup']:.3f}x (geometric mean of {mean['models']}), "
                f"at worst {mean['worst']:.3f}x ({mean['worst_model']})"
            )
    reasons = {(label, why) for model in result["models"].values() for label, why in model["unavailable"].items()}
    for label, why in sorted(reasons):
        console.print(f"{label} is left out: {why}")


def _table(result: Result, equal: str) -> Table:
    settings = result["settings"]
    keys = columns(equal)
    present = [label for label, key in keys.items() if any(key in m["programs"] for m in result["models"].values())]
    table = Table(title=f"milliseconds: equal {equal}, {settings['trials']} trials, {settings['threads']} threads")
    table.add_column("model", no_wrap=True)
    for heading in (*present, *(f"speed-up on {label}" for label in (TVM, BY_HAND)), "trials", "seconds of tuning"):
        table.add_column(heading, justify="right")
    table.add_column("largest difference", justify="right")
    for name, model in result["models"].items():
        programs, speedups = model["programs"], model["speedups"][keys[OURS]]
        tuned_ones = [programs[keys[label]] for label in (TVM, BY_HAND, OURS) if keys[label] in programs]
        table.add_row(
            name,
            *(_cell(programs.get(keys[label])) for label in present),
            *(f"{speedups[keys[label]]:.2f}x" if keys[label] in speedups else "" for label in (TVM, BY_HAND)),
            "\n".join(str(row["trials"]) for row in tuned_ones),
            "\n".join(f"{row['seconds']:.0f}" for row in tuned_ones),
            f"{max(row['difference'] for row in programs.values()):.1e}",
        )
    return table


def _cell(row: Result | None) -> str:
    if row is None:
        return ""
    return f"{row['median_ms']:.2f}" + (f"\n{row['configuration']}" if "configuration" in row else "")
