"""What was measured of forms, and what was chosen for each program, kept beside the kernels' records.

What was chosen for a program makes rules, and these its e-graph: whoever compiles with the records builds the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from tvm.target import Target

from ..cost.store.conditions import Provenance, target_identity, this_host, this_version
from ..cost.store.lines import LineFile, dumps, locked
from .form import Form
from .proposer import Measured

FORMS = "eqsat_forms.json"

#: For each operator, as :meth:`str` writes its site, its forms.
Choice = Mapping[str, Sequence[Form]]


class FormRecords:
    """The records for one target on this host.

    Parameters
    ----------
    folder : str or pathlib.Path
        The directory of the kernel database.
    target : tvm.target.Target
        The target.
    prepack : bool
        Whether kernels are those with weights in the layouts of their choice.

    Attributes
    ----------
    measured : list of Measured
        Of all operators.
    """

    def __init__(self, folder: str | Path, target: Target, *, prepack: bool = False) -> None:
        self._file = LineFile(Path(folder) / FORMS)
        self._target = target_identity(target)
        self._prepack = prepack
        self._provenance = Provenance(this_host(), this_version())
        self._chosen: dict[str, Choice] = {}
        self.measured: list[Measured] = []
        for line in self._file.read():
            self._take(line.value)

    def chosen(self, program: str) -> Choice | None:
        """The forms that were chosen for a program; None if none were looked for."""
        return self._chosen.get(program)

    def add(self, item: Measured) -> None:
        """Add a measurement.

        Raises
        ------
        MeasurementError
            The file can't be written.
        """
        self.measured.append(item)
        self._append({"features": item.features, "form": item.form, "surprise": item.surprise})

    def choose(self, program: str, choice: Choice) -> None:
        """Add the forms of a program's operators.

        Raises
        ------
        MeasurementError
            The file can't be written.
        """
        self._chosen[program] = dict(choice)
        self._append({"program": program, "chosen": self._chosen[program]})

    def _append(self, value: dict[str, Any]) -> None:
        conditions = {"target": self._target, "prepack": self._prepack, **self._provenance.to_json()}
        with locked(self._file.path.parent):
            self._file.append(dumps({**value, **conditions}))

    def _take(self, value: Any) -> None:
        if not isinstance(value, dict) or (value.get("target"), value.get("prepack")) != (self._target, self._prepack):
            return
        provenance = Provenance.from_json(value)
        if provenance is None or not provenance.compares_with(self._provenance, trust_unknown_host=True):
            return
        program, chosen = value.get("program"), value.get("chosen")
        if isinstance(program, str) and isinstance(chosen, dict):
            self._chosen[program] = {site: _forms(forms) for site, forms in chosen.items()}
        form, features, surprise = _form(value.get("form")), value.get("features"), value.get("surprise")
        if form and isinstance(features, list) and all(map(_is_number, [*features, surprise])):
            self.measured.append(Measured(tuple(map(float, features)), form, float(value["surprise"])))


def _form(value: Any) -> Form | None:
    """A form as it was written; None if it isn't one that there is now."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    kind, sizes = value
    if not isinstance(kind, str) or not isinstance(sizes, list) or not all(type(s) is int and s > 0 for s in sizes):
        return None
    form = Form(kind, tuple(sizes))
    return form if form.known else None


def _forms(values: Any) -> list[Form]:
    return [form for form in map(_form, values) if form] if isinstance(values, list) else []


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)
