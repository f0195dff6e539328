"""How useful rules were in the programs that were optimised before, by target, in a JSON file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import write_atomically

log = logging.getLogger("tvm_eqsat.search")

#: Name of the file, in the directory of the kernel database.
SCORES = "eqsat_rules.json"


class Usefulness:
    """Scores of rules: what share of a program's cost they saved, over the programs seen.

    What a search was given is kept with what it found: the same program is searched with the same scores again,
    whatever was learned since, so that the result is the same.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        The file. What isn't readable as one is left alone, and nothing is saved then. Without a path nothing is read
        or saved.
    target : str
        The target; others' scores are kept apart.
    """

    def __init__(self, path: str | Path | None = None, target: str = "") -> None:
        self._path = None if path is None else Path(path)
        self._target = target
        self._programs: dict[str, Any] = {}
        self._given: dict[str, float] = {}
        self._learned: dict[str, float] = {}
        self._program = ""
        if self._path is not None and self._path.exists():
            whole = _read(self._path)
            if whole is None:
                self._path = None
            else:
                self._programs = whole.get(target, {})

    def start(self, program: str) -> None:
        """Search for a program, by a digest of it."""
        self._program, self._learned = program, {}
        known = self._programs.get(program)
        if known is not None:
            self._given = dict(known["given"])
            return
        self._given = {}
        for record in self._programs.values():
            for rule, score in record["found"].items():
                self._given[rule] = self._given.get(rule, 0.0) + score

    def score(self, rule: str) -> float:
        """How useful a rule was, in this search and in the programs before; 0 if it never was."""
        return self._given.get(rule, 0.0) + self._learned.get(rule, 0.0)

    def learn(self, rules: Mapping[str, int], share: float) -> None:
        """Note the rules, with numbers of e-nodes, that together saved a share of the program's cost."""
        nodes = sum(rules.values())
        for rule, count in rules.items():
            self._learned[rule] = self._learned.get(rule, 0.0) + share * count / nodes

    def save(self) -> None:
        """Write what this search found into the file, beside what others have written meanwhile.

        What was found is no reason to lose the program over: if the file can't be written, a warning says so.
        """
        if self._path is None:
            return
        whole = _read(self._path) if self._path.exists() else {}
        if whole is None:
            return
        mine = whole.setdefault(self._target, {})
        if self._program not in mine:
            mine[self._program] = {"given": self._given, "found": self._learned}
            try:
                write_atomically(self._path, json.dumps(whole, indent=1, sort_keys=True) + "\n")
            except OSError as err:
                log.warning("%s can't be written, so what rules are good for isn't remembered: %s", self._path, err)
        self._programs = mine


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for programs in found.values():
            for record in programs.values():
                for name in ("given", "found"):
                    for rule, score in record[name].items():
                        if not isinstance(rule, str) or not isinstance(score, int | float):
                            raise TypeError(f"{rule!r}: {score!r}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        log.warning("%s isn't a file of rules' scores, so it is neither used nor changed: %s", path, err)
        return None
    return dict(found)
