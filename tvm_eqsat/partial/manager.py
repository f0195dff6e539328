"""The mutation manager: mutants that were found once are found again, in other layers, models and runs.

Two levels, after the second edition of PET (IEEE Transactions on Computers 72(12), 2023): a program with the same
operators and shapes has the same mutants; for one with the same operators at other shapes, the recipes of those mutants
are followed and the results tested, and only where too few of them hold does the search begin anew.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .mutants import Mutant, Price, Recipe, mutants, verified
from .stored import Lines, from_json, to_json

#: The file's name in the directory of the kernel database.
FILE = "eqsat_mutants.txt"
_ENOUGH = 0.75  # share of known recipes that have to hold at new shapes


class MutationManager:
    """Finds the mutants of programs, and remembers them.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        Directory of the file that is shared between runs; without it, nothing outlives this object.
    price : callable, optional
        See :func:`~tvm_eqsat.partial.mutants.mutants`.
    context : str
        What prices depend on (the target): mutants that were kept by other prices aren't mixed.
    **settings
        ``depth``, ``limit``, ``alike``, ``corrections`` and ``slack`` of :func:`~tvm_eqsat.partial.mutants.mutants`.

    Attributes
    ----------
    searched, reused, known : int
        How many programs were searched, got their mutants from recipes for other shapes, or were known.
    """

    def __init__(
        self, folder: str | Path | None = None, *, price: Price | None = None, context: str = "", **settings: Any
    ) -> None:
        self._lines = None if folder is None else Lines(Path(folder) / FILE)
        self._price = price
        self._settings = settings
        self._context = repr((context, sorted(settings.items())))
        self._stored: dict[str, Any] = {}  # by operators and shapes, as JSON
        self._found: dict[str, list[Mutant]] = {}
        self._recipes: dict[str, list[tuple[str, Recipe]]] = {}  # by operators alone
        self._new: list[dict[str, Any]] = []
        self.searched = self.reused = self.known = 0
        for value in self._lines.read() if self._lines else ():
            if isinstance(value.get("program"), str) and isinstance(value.get("mutants"), list):
                self._stored[value["program"]] = value["mutants"]

    def mutants(self, program: TensorGraph) -> list[Mutant]:
        """The mutants of a program, see :func:`~tvm_eqsat.partial.mutants.mutants`."""
        key = self._key(program, shapes=True)
        found = self._found.get(key)
        if found is None:
            found = self._from_file(program, key)
        if found is not None:
            self.known += 1
        else:
            found = self._from_recipes(program)
            if found is not None:
                self.reused += 1
            else:
                self.searched += 1
                found = mutants(program, price=self._price, **self._settings)
            self._note(key, found)
        self._found[key] = found
        self._recipes.setdefault(self._key(program, shapes=False), [(m.name, m.recipe) for m in found])
        return found

    def save(self) -> None:
        """Write what is new to the file.

        Raises
        ------
        OptionError
            It can't be written.
        """
        if self._lines and self._new:
            self._lines.add(self._new)
        self._new = []

    def _from_file(self, program: TensorGraph, key: str) -> list[Mutant] | None:
        try:
            return [from_json(program, value) for value in self._stored[key]] if key in self._stored else None
        except IllTyped:
            return None

    def _from_recipes(self, program: TensorGraph) -> list[Mutant] | None:
        """What recipes for other shapes give, or None if too few of them hold."""
        recipes = self._recipes.get(self._key(program, shapes=False))
        if not recipes:
            return None
        found = [mutant for name, recipe in recipes if (mutant := verified(program, recipe, name)) is not None]
        return found if len(found) >= _ENOUGH * len(recipes) else None

    def _note(self, key: str, found: list[Mutant]) -> None:
        values = [to_json(mutant) for mutant in found]
        if all(value is not None for value in values):
            self._new.append({"program": key, "mutants": values})

    def _key(self, program: TensorGraph, *, shapes: bool) -> str:
        """A digest of the operators of a program, and of the types of its inputs if these matter."""
        place = {i: k for k, i in enumerate(program.live())}
        nodes = []
        for i in place:
            node = program.nodes[i]
            attrs = tuple(node.attrs)
            if node.op == "input" and not shapes:
                index, type_, weight = attrs
                attrs = (index, len(type_.shape), type_.dtype, weight)
            nodes.append((node.op, attrs, [place[c] for c in node.inputs]))
        text = repr((self._context, nodes, [place[i] for i in program.outputs]))
        return blake2b(text.encode(), digest_size=16).hexdigest()
