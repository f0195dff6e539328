"""Equations between tensor terms, as TASO prints them: ``relu(x)==conv2d(1,1,0,2,x,Iconv(3,3))``.

::

    equation := term "==" term
    term     := NAME [ "(" argument { "," argument } ")" ]
    argument := INTEGER | term

A name without arguments is a variable, or a constant. What the names mean is said in :mod:`.shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import FormatError

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>\d{1,9})|(?P<mark>==|[(),])|(?P<other>\S))")
_DEPTH = 50  # far beyond any equation, far below Python's own limit


@dataclass(frozen=True)
class Expr:
    """A name applied to integers and terms; ``column`` says where it stands, from 1."""

    name: str
    numbers: tuple[int, ...] = ()
    args: tuple[Expr, ...] = ()
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        inside = ",".join([*map(str, self.numbers), *map(str, self.args)])
        return f"{self.name}({inside})" if inside else self.name

    def walk(self) -> Iterator[Expr]:
        """The term and all its subterms, operands first."""
        for arg in self.args:
            yield from arg.walk()
        yield self


@dataclass(frozen=True)
class Equation:
    """Two terms that are said to be equal."""

    lhs: Expr
    rhs: Expr

    def __str__(self) -> str:
        return f"{self.lhs}=={self.rhs}"


def parse(text: str, line: int = 1) -> Equation:
    """Read one equation.

    Parameters
    ----------
    text : str
        The equation, without a line break.
    line : int
        Its number in the file, for messages.

    Raises
    ------
    FormatError
        It isn't one; the message gives line and column, and what was expected.
    """
    return _Parser(text, line).equation()


class _Parser:
    def __init__(self, text: str, line: int) -> None:
        self.line = line
        groups = ((m.lastgroup or "other", m) for m in _TOKEN.finditer(text))
        self.tokens = [(kind, m[kind], m.start(kind) + 1) for kind, m in groups]
        self.tokens.append(("end", "the end of the line", len(text.rstrip()) + 1))
        self.at = 0

    def equation(self) -> Equation:
        lhs = self.term(0)
        self.expect("==")
        rhs = self.term(0)
        if self.tokens[self.at][0] != "end":
            raise self.error("the end of the line")
        return Equation(lhs, rhs)

    def term(self, depth: int) -> Expr:
        kind, name, column = self.tokens[self.at]
        if kind != "name":
            raise self.error("a name")
        if depth > _DEPTH:
            raise FormatError(f"line {self.line}, column {column}: terms are nested more than {_DEPTH} deep")
        self.at += 1
        if not self.take("("):
            return Expr(name, column=column)
        numbers: list[int] = []
        args: list[Expr] = []
        while True:
            kind, text, _ = self.tokens[self.at]
            if kind == "number" and not args:
                numbers.append(int(text))
                self.at += 1
            else:
                args.append(self.term(depth + 1))
            if self.take(")"):
                return Expr(name, tuple(numbers), tuple(args), column)
            self.expect(",", "',' or ')'")

    def take(self, mark: str) -> bool:
        found = self.tokens[self.at][:2] == ("mark", mark)
        self.at += found
        return found

    def expect(self, mark: str, wanted: str = "") -> None:
        if not self.take(mark):
            raise self.error(wanted or f"'{mark}'")

    def error(self, wanted: str) -> FormatError:
        kind, text, column = self.tokens[self.at]
        found = text if kind == "end" else f"'{text}'"
        return FormatError(f"line {self.line}, column {column}: expected {wanted}, found {found}")
