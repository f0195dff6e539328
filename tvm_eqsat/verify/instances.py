"""Random legal instances of a rule, from its own record: what the generated tests run on.

``Rule.shapes`` holds one line for each family of instances: ``"x:nab w!:b~"``. Each word is a tensor variable, flags,
a colon and one character for each axis:

========  ====================================================================================
``a``     a letter: a random size, the same wherever the letter appears in the line
``A``     a capital: the size of its small letter or 1, drawn anew for each tensor (broadcasting)
``3``     a digit: that size
``~``     a random size, drawn anew for each member or operand
``.``     none to two axes of random sizes, the same wherever the point appears in the line
``!``     the tensor is a constant (otherwise an input)
``+``     all its elements are positive
``?``     it holds truth values
``#``     it holds integers of 32 bits
``=0``    all its elements have that value (and it is a constant)
``*``     the variable stands for several operands
``=``     in a k-way rule, the tensor is the same for every member (``shared``)
``==``    under ``each(…)``, the tensor is the same for every operand
========  ====================================================================================

Several operands, and the members of a k-way rule, are two or three, or as many as ``attrs["count"]`` says.
Attributes that the pattern leaves open come from ``Rule.attrs`` (functions whose parameters are ``rng``, ``i`` for the
member's number, names of tensor variables for their types, or ``*operands``) or else from ``Operator.sample``; the
latter are mostly, but not always, the same for all members and operands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..egraph.egraph import EGraph
from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import IllTyped, RuleError
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import Constant
from ..graph.types import TensorType
from ..rules.analysis import TensorAnalysis
from ..rules.rule import Rule

# How often members draw attributes of their own, which most rules refuse.
_ODD = 0.15
# How often a letter is 1, where most rules have their special cases.
_UNIT = 0.15

_WORD = re.compile(
    r"(?P<name>[A-Za-z_]+)(?P<flags>[!+*?#]*)(?P<fill>=-?[\d.]+)?(?P<same>={0,2})(?P<more>!?):(?P<dims>\S*)$"
)


@dataclass
class Instance:
    """A left side in an e-graph.

    Attributes
    ----------
    egraph : EGraph
        Holds nothing but the left side (of every member, for k-way rules), and others that :func:`samples` drew.
    roots : list of int
        The e-classes that the rule must find.
    values : dict of int to numpy.ndarray
        For each input's index, random values.
    signature : list
        Operators, attributes and shapes in the order in which they were made: what makes instances distinct.
    """

    egraph: EGraph
    roots: list[int] = field(default_factory=list)
    values: dict[int, np.ndarray] = field(default_factory=dict)
    signature: list[Any] = field(default_factory=list)


def sample(
    rule: Rule,
    line: str,
    rng: np.random.Generator,
    *,
    free_attrs: bool = False,
    constants: bool = True,
    tries: int = 200,
    beside: Instance | None = None,
) -> Instance:
    """A random legal instance of a rule's left side.

    Parameters
    ----------
    rule : Rule
        The rule.
    line : str
        One of its ``shapes``, or its ``counterexample``.
    rng : numpy.random.Generator
        Decides everything random.
    free_attrs : bool
        Draw attributes from the operators alone, not from ``Rule.attrs``.
    constants : bool
        Whether ``!`` makes constants. Laws hold for inputs in their place; only what ``Rule.pays`` says may differ.
    tries : int
        How many random draws to make before giving up.
    beside : Instance, optional
        Build it in this instance's e-graph, from inputs of its own.

    Raises
    ------
    RuleError
        No legal instance was found, or the line is malformed.
    """
    for _ in range(tries):
        try:
            return _Sampler(rule, line, rng, free_attrs, constants, beside).build()
        except IllTyped:
            continue
    raise RuleError(f"rule {rule.name!r}: no legal instance of shapes {line!r} in {tries} tries")


def samples(rule: Rule, count: int, rng: np.random.Generator, *, constants: bool = True) -> list[Instance]:
    """Many random legal instances in one e-graph, of each of the rule's ``shapes`` in turn.

    They differ in an operator's attributes or a shape, unless the rule has fewer such variants; they always differ in
    their values.
    """
    found: list[Instance] = []
    seen: set[Any] = set()
    spare = count  # draws that may be wasted
    for number in range(count):
        line = rule.shapes[number % len(rule.shapes)]
        beside = found[0] if found else None
        instance = sample(rule, line, rng, constants=constants, beside=beside)
        while (signature := tuple(instance.signature)) in seen and spare:
            spare -= 1
            instance = sample(rule, line, rng, constants=constants, beside=instance)
        seen.add(signature)
        found.append(instance)
    return found


class _Sampler:
    def __init__(
        self,
        rule: Rule,
        line: str,
        rng: np.random.Generator,
        free_attrs: bool,
        constants: bool,
        beside: Instance | None,
    ) -> None:
        self.rule = rule
        self.rng = rng
        self.samplers: dict[str, Callable[..., Any]] = {} if free_attrs else dict(rule.attrs)
        self.constants = constants
        self.words = _words(rule.name, line)
        self.sizes: dict[Any, int] = {}
        self.leading: tuple[int, ...] | None = None
        self.out = Instance(beside.egraph, values=beside.values) if beside else Instance(EGraph(TensorAnalysis()))
        self.member = 0
        self.tensors: dict[Any, tuple[int, TensorType]] = {}
        self.attrs: dict[str, Any] = {}
        self.common: dict[str, Any] | None = None if rng.random() < _ODD else {}

    def build(self) -> Instance:
        for number in range(self._count() if self.rule.shared else 1):
            self.member, self.attrs = number, {}
            self.out.roots.append(self._pattern(self.rule.lhs, None)[0])
        return self.out

    # -- tensors --

    def _tensor(self, name: str, part: int | None) -> tuple[int, TensorType]:
        """The e-class of a tensor variable, made on first sight."""
        word = self.words.get(name)
        if word is None:
            raise RuleError(f"rule {self.rule.name!r}: shapes don't mention the tensor {name!r}")
        same = word["same"] or ""
        member = None if same else self.member
        part = None if same == "==" else part
        key = (name, member, part)
        if key not in self.tensors:
            self.tensors[key] = self._leaf(word, part)
        return self.tensors[key]

    def _size(self, letter: str, part: int | None) -> int:
        if letter.isdigit():
            return int(letter)
        if letter == "~":
            return self.sizes.setdefault((self.member, part), int(self.rng.integers(1, 5)))
        if letter in self.rule.attrs:
            return int(self._call(self.rule.attrs[letter], ()))
        if letter.isupper():
            return 1 if self.rng.random() < 0.5 else self._size(letter.lower(), part)
        if letter not in self.sizes:
            self.sizes[letter] = 1 if self.rng.random() < _UNIT else int(self.rng.integers(2, 6))
        return self.sizes[letter]

    def _leading(self) -> tuple[int, ...]:
        if self.leading is None:
            self.leading = tuple(self.rng.integers(1, 4, int(self.rng.integers(3))).tolist())
        return self.leading

    def _shape(self, word: re.Match[str], part: int | None) -> tuple[int, ...]:
        shape: list[int] = []
        for letter in word["dims"]:
            shape += self._leading() if letter == "." else (self._size(letter, part),)
        return tuple(shape)

    def _leaf(self, word: re.Match[str], part: int | None) -> tuple[int, TensorType]:
        flags = word["flags"] + word["more"]
        shape = self._shape(word, part)
        kind = TensorType(shape, "bool" if "?" in flags else "int32" if "#" in flags else "float64")
        values = self.rng.integers(1 if "+" in flags else -8, 9, shape)
        array = values > 0 if "?" in flags else values.astype(kind.dtype)
        if word["fill"]:
            array = np.full(shape, float(word["fill"][1:]))
        self.out.signature.append(shape)
        if ("!" in flags and self.constants) or word["fill"]:
            attrs = OPERATORS["constant"].make_attrs(value=Constant(array))
            return self._add("constant", attrs, []), kind
        index = len(self.out.values)
        self.out.values[index] = array
        return self._add("input", OPERATORS["input"].make_attrs(index=index, type=kind), []), kind

    def _add(self, op: str, attrs: tuple[Any, ...], children: list[int]) -> int:
        egraph = self.out.egraph
        found = egraph.add(egraph.sym(op, attrs), children)
        if found < 0:
            raise IllTyped(f"{op} doesn't apply here")
        return found

    # -- the pattern --

    def _pattern(self, pattern: Any, part: int | None) -> tuple[int, TensorType]:
        if isinstance(pattern, Var):
            return self._tensor(pattern.name, part)
        operands: list[tuple[int, TensorType]] = []
        for child in pattern.children:
            if isinstance(child, Rest | Each):
                for i in range(self._count()):
                    if isinstance(child, Rest):
                        operands.append(self._tensor(child.name, i))
                    else:
                        outer, self.member, kept = self.member, i, self.attrs
                        self.attrs = dict(kept)
                        operands.append(self._pattern(child.pattern, i))
                        self.member, self.attrs = outer, kept
            else:
                operands.append(self._pattern(child, part))
        attrs = self._attributes(pattern, [t for _, t in operands])
        self.out.signature.append((pattern.op, attrs))
        cls = self._add(pattern.op, attrs, [c for c, _ in operands])
        return cls, self.out.egraph.data(cls).type

    def _count(self) -> int:
        """How many members, or operands of a variadic operator."""
        if "count" in self.rule.attrs:
            return int(self._call(self.rule.attrs["count"], ()))
        return int(self.rng.integers(2, 4))

    def _attributes(self, pattern: Pat, operands: list[TensorType]) -> tuple[Any, ...]:
        record = OPERATORS[pattern.op]
        drawn: list[Any] = []

        def draw() -> Any:
            if not drawn:
                if record.sample is None:
                    raise RuleError(f"operator {record.name!r} needs a sampler to be used in rule tests")
                drawn.append(record.sample(self.rng, operands))
            return drawn[0]

        if isinstance(pattern.attrs, AttrVar):
            return self._attribute(pattern.attrs.name, operands, draw)
        values = {}
        for name, value in zip(record.schema, pattern.attrs or (), strict=True):
            if isinstance(value, AttrVar):
                value = self._attribute(value.name, operands, lambda: getattr(draw(), name))  # noqa: B023 (called at once)
            values[name] = value
        return record.make_attrs(**values)

    def _attribute(self, name: str, operands: list[TensorType], draw: Callable[[], Any]) -> Any:
        if name not in self.attrs:
            sampler = self.samplers.get(name)
            if sampler:
                self.attrs[name] = self._call(sampler, operands)
            elif self.common is None:
                self.attrs[name] = draw()
            else:
                if name not in self.common:
                    self.common[name] = draw()
                self.attrs[name] = self.common[name]
        return self.attrs[name]

    def _call(self, fn: Callable[..., Any], operands: Any) -> Any:
        given: list[Any] = []
        for name in _asked(fn):
            if name == "*":
                given.extend(operands)
            elif name == "rng":
                given.append(self.rng)
            elif name == "i":
                given.append(self.member)
            else:
                given.append(self._tensor(name, None)[1])
        return fn(*given)


@cache
def _words(name: str, line: str) -> dict[str, re.Match[str]]:
    """The words of a line of ``shapes``, by tensor variable."""
    words = {}
    for word in line.split():
        match = _WORD.match(word)
        if not match:
            raise RuleError(f"rule {name!r}: {word!r} in shapes {line!r} isn't NAME[flags]:dims")
        words[match["name"]] = match
    return words


@cache
def _asked(fn: Callable[..., Any]) -> tuple[str, ...]:
    """What a sampler wants to be given: names of its parameters, ``*`` for the operands."""
    parameters = inspect.signature(fn).parameters.values()
    wanted = [p for p in parameters if p.default is p.empty]
    return tuple("*" if p.kind is p.VAR_POSITIONAL else p.name for p in wanted)
