"""Several multilinear operators together: each in a form of its own, made exact as a whole.

A mutant leaves its result where the next operator may want it, so that nothing has to be moved between the two: that is
what canonical drafts (:mod:`.draft`) see to. What is wrong after all of them is found, and corrected, once. So are made
the mutants of subprograms of more than one operator in PET (OSDI 2021, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, TypeVar

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .draft import Draft, inputs_of, is_weight, part_of

#: Operators whose forms are combined.
MULTILINEAR = ("conv2d", "conv2d_transpose", "matmul")
_WIDTH = {2: 12, 3: 5, 4: 3}  # forms of each operator that are combined, by the number of operators

_Recipe = TypeVar("_Recipe")
_Naming = tuple[str, str]
_Form = tuple[_Naming, _Recipe, float]


def sites(program: TensorGraph) -> list[int]:
    """The operators of a program that have forms, operands first.

    Raises
    ------
    IllTyped
        It has fewer than two or more than four of them, or more than one output.
    """
    found = [i for i in program.live() if program.nodes[i].op in MULTILINEAR and len({*program.nodes[i].inputs}) == 2]
    if len(found) not in _WIDTH or len(program.outputs) != 1:
        raise IllTyped(f"{len(found)} operators with {len(program.outputs)} outputs are no chain")
    return found


def alone(program: TensorGraph, i: int) -> TensorGraph:
    """One operator of a program as a program of its own."""
    return part_of(program, [i], lambda c: is_weight(program, c))


def composed(
    program: TensorGraph, recipes: Sequence[_Recipe | None], make: Callable[[TensorGraph, _Recipe], TensorGraph]
) -> TensorGraph:
    """A program with its operators in other forms.

    Parameters
    ----------
    program : TensorGraph
        See :func:`sites`.
    recipes : sequence
        For each of these operators how its form is made; None leaves it as it is.
    make : callable
        Makes the form of an operator by itself.

    Raises
    ------
    IllTyped
        A form doesn't fit.
    """
    draft = Draft(program)
    place = dict(zip(inputs_of(program), draft.leaves, strict=True))
    recipe_of = dict(zip(sites(program), recipes, strict=True))
    for i in program.live():
        if i in place:
            continue
        recipe, operands = recipe_of.get(i), [place[c] for c in program.nodes[i].inputs]
        if recipe is None:
            place[i] = _again(draft, program.nodes[i].op, program.nodes[i].attrs, operands)
        else:
            place[i] = _included(draft, make(alone(program, i), recipe), operands)
    return draft.done(*[place[i] for i in program.outputs])


def _included(draft: Draft, form: TensorGraph, operands: Sequence[int]) -> int:
    place: dict[int, int] = {}
    for i in form.live():
        node = form.nodes[i]
        given = node.op == "input"
        place[i] = (
            operands[node.attrs[0]] if given else _again(draft, node.op, node.attrs, [place[c] for c in node.inputs])
        )
    return place[form.outputs[0]]


def _again(draft: Draft, op: str, attrs: Any, operands: Sequence[int]) -> int:
    """An operator in canonical form: movements that undo each other vanish."""
    if op == "reshape":
        return draft.reshape(operands[0], attrs.shape)
    if op == "permute_dims":
        return draft.permute(operands[0], attrs.axes)
    return draft.apply(op, attrs, *operands)


def forms(
    program: TensorGraph,
    of_one: Callable[[TensorGraph], Iterable[_Form[_Recipe]]],
    make: Callable[[TensorGraph, _Recipe], TensorGraph],
    price: Callable[[TensorGraph], float],
) -> Iterator[tuple[_Naming, tuple[_Recipe | None, ...], float]]:
    """Names, recipes of all operators, and the share of the result that is right in the worst of them.

    Combined are the cheapest forms of each operator, and any form that all operators have.

    Parameters
    ----------
    program : TensorGraph
        See :func:`sites`.
    of_one : callable
        The forms of an operator by itself.
    make, price : callable
        Make and price one.
    """
    parts = [alone(program, i) for i in sites(program)]
    options = [_cheapest(part, of_one, make, price) for part in parts]
    width = _WIDTH[len(parts)]
    common = [form for form in options[0] if all(any(form[1] == f[1] for f in more) for more in options[1:])]
    known = set()
    for combination in (*product(*[[None, *forms[:width]] for forms in options]), *[(f,) * len(parts) for f in common]):
        recipes = tuple([form and form[1] for form in combination])
        if recipes in known or not any(recipes):
            continue
        known.add(recipes)
        name, family = ("&".join([form[0][k] if form else "plain" for form in combination]) for k in (0, 1))
        yield (name, family), recipes, min(form[2] for form in combination if form)


def _cheapest(
    part: TensorGraph,
    of_one: Callable[[TensorGraph], Iterable[_Form[_Recipe]]],
    make: Callable[[TensorGraph, _Recipe], TensorGraph],
    price: Callable[[TensorGraph], float],
) -> list[_Form[_Recipe]]:
    """The forms of one operator, the cheapest first; of those that cost the same, what is right comes first."""
    found: list[tuple[float, float, int, _Form[_Recipe]]] = []
    for form in of_one(part):
        try:
            found.append((float(f"{price(make(part, form[1])):.2g}"), -form[2], len(found), form))
        except IllTyped:
            continue
    return [form for *_, form in sorted(found, key=lambda entry: entry[:3])]
