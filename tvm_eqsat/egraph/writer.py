"""The source of a compiled pattern while it is being written: its lines, its locals, and what these determine."""

from __future__ import annotations

from typing import Any

from .pattern import ANY, AttrVar, Child, Each, Pat, Rest, Var, attr_vars


class Writer:
    """Writes the body of a function. Its locals are numbered: names and values of a pattern never get into the source.

    Attributes
    ----------
    lines : list of str
        What has been written.
    numbered : list of Pat
        T0, T1, … are the symbols that these admit.
    bound : dict of str to str
        For each variable of the patterns that is known, the local that holds it.
    looked_up : bool
        Whether some class was found by a look-up, so that its node isn't among those that the loops go through.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.numbered: list[Pat] = []
        self.bound: dict[str, str] = {}
        self.looked_up = False
        self.loops = 0
        self.deepest = 0
        self.locals = 0
        self.failure = "return"  # how to give up outside of any loop

    def put(self, line: str) -> None:
        """Add a line inside the loops that are open."""
        self.lines.append("    " * (1 + self.loops) + line)

    def loop(self, header: str) -> None:
        """Open a loop."""
        self.put(header)
        self.loops += 1
        self.deepest = max(self.deepest, self.loops)

    def fail_if(self, *conditions: str) -> None:
        """Go on with the next candidate of the innermost loop if one of these holds."""
        if conditions:
            self.put(f"if {' or '.join(conditions)}: {'continue' if self.loops else self.failure}")

    def local(self, kind: str) -> str:
        """A new local."""
        self.locals += 1
        return f"{kind}{self.locals}"

    def number(self, pat: Pat) -> int:
        """The number of a pattern, a new one if it has none."""
        for k, known in enumerate(self.numbered):
            if known is pat:
                return k
        self.numbered.append(pat)
        return len(self.numbered) - 1

    def bind(self, name: str, value: str) -> None:
        """Give a variable a value, or demand that it has this one."""
        if name in self.bound:
            self.fail_if(f"{value} != {self.bound[name]}")
        else:
            self.bound[name] = self.local("v")
            self.put(f"{self.bound[name]} = {value}")

    # -------------------------------------------------------------- what is known

    def determined(self, pat: Pat, names: Any) -> bool:
        """Whether a pattern's symbol is known once the variables in ``names`` are."""
        if isinstance(pat.attrs, AttrVar):
            return pat.attrs.name in names
        return pat.attrs is not None and ANY not in pat.attrs and all(name in names for name in attr_vars(pat))

    def resolvable(self, child: Child) -> bool:
        """Whether the class (or tuple of operands) that a child stands for is known, up to look-ups."""
        if isinstance(child, (Var, Rest)):
            return child.name in self.bound
        if isinstance(child, Each):
            return False
        return self.determined(child, self.bound) and all(map(self.resolvable, child.children))

    def resolve(self, child: Child) -> str:
        """The local that holds the class which a resolvable child stands for."""
        if isinstance(child, (Var, Rest)):
            return self.bound[child.name]
        assert isinstance(child, Pat)
        self.looked_up = True
        operands = [("*" if isinstance(k, Rest) else "") + self.resolve(k) for k in child.children]
        number, c = self.number(child), self.local("c")
        self.put(f"{c} = memo.get(({', '.join([self.symbol(child, number), *operands])},))")
        self.fail_if(f"{c} is None")
        self.put(f"{c} = parent[{c}]")
        return c

    def symbol(self, pat: Pat, number: int) -> str:
        """Source for the symbol of a pattern that is determined."""
        if isinstance(pat.attrs, AttrVar):
            return f"get(PATS[{number}].op, {self.bound[pat.attrs.name]})"
        if not attr_vars(pat):
            return f"S{number}"
        attrs = enumerate(pat.attrs or ())
        values = [self.bound[a.name] if isinstance(a, AttrVar) else f"A{number}[{k}]" for k, a in attrs]
        return f"get(PATS[{number}].op, ({', '.join(values)},))"

    def resolve_children(self, pat: Pat, skip: int = -1) -> dict[int, str]:
        """The locals that hold the classes of all resolvable children but one, by place."""
        return {
            k: self.resolve(child)
            for k, child in enumerate(pat.children)
            if k != skip and not isinstance(child, Rest) and self.resolvable(child)
        }

    def anchor(self, pat: Pat) -> list[int] | None:
        """Shortest path from a pattern's root to something known, as child positions."""
        if self.resolvable(pat):
            return []
        paths = []
        for k, child in enumerate(pat.children):
            if isinstance(child, Var) and self.resolvable(child):
                paths.append([k])
            elif isinstance(child, Pat) and (path := self.anchor(child)) is not None:
                paths.append([k, *path])
        return min(paths, key=len, default=None)
