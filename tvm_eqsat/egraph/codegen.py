"""Patterns to Python source: nested loops over candidate nodes, with every index the e-graph has.

For each operator of a pattern the generated code takes the cheapest source of candidates that is known at that point:

- all operands known, attributes too: one look-up in the hash-cons;
- its class and an operand known: the shorter of the class's nodes and the operand's users;
- its class known: the class's nodes;
- an operand known, its class not (the second pattern of a join): the operand's users.

All sources are sorted by age, so the choice never changes the order of the matches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ..errors import RuleError
from .candidates import HELPERS
from .pattern import Each, Pat, Rest, Var, attr_vars, variables
from .writer import Writer

LOOPS = 20  # Python nests no more, and each operator of a pattern may need one

Generated = Callable[..., Generator[Any, int, None]]


def generate(pats: Sequence[Pat], pivot: int = 0, ordered: bool = False, join: bool = False) -> tuple[Generated, str]:
    """Translate patterns that share variables into one generator ``search(eg, only)``.

    It is sent how many matches are wanted, and yields all that it has found once there are so many, or no more.

    Parameters
    ----------
    pats : sequence of Pat
        One, or several that hang together through class variables.
    pivot : int
        The pattern whose root is looked for in the classes of ``only``; those of earlier ones have to be outside, so
        that the searches of all pivots together find each match once.
    ordered : bool
        Whether the root classes have to ascend strictly.
    join : bool
        Whether a match starts with a tuple of root classes instead of one.

    Returns
    -------
    tuple of callable and str
        It, and its source.

    Raises
    ------
    RuleError
        The patterns don't hang together, or are too large.
    """
    program = _Program(list(pats), variables(pats))
    program.write(pivot, ordered, join)
    if program.deepest > LOOPS:
        raise RuleError(f"the left side starting at {pats[0].op!r} has too many operators: split the rule")
    source = "\n".join(program.lines) + "\n"
    scope: dict[str, Any] = {"PATS": program.numbered, **HELPERS}
    exec(compile(source, f"<pattern of {pats[0].op}>", "exec"), scope)
    return scope["search"], source


def _below(pat: Pat) -> dict[int, Pat | Each]:
    """Children that are operators again, by position."""
    return {k: child for k, child in enumerate(pat.children) if not isinstance(child, (Var, Rest))}


def _is_flat(pat: Pat) -> bool:
    """Whether a pattern is one operator."""
    return not _below(pat)


class _Program(Writer):
    """A generator ``search(eg, only)``."""

    def __init__(self, pats: list[Pat], names: dict[str, bool]) -> None:
        super().__init__()
        self.pats = pats
        self.names = names
        self.roots: dict[int, str] = {}  # pattern -> its root class
        self.pending: list[tuple[Pat, str]] = []  # sub-patterns, and the local that holds their class
        self.eaches: list[tuple[Each, str]] = []  # matched last, when all that occurs outside is bound
        self.optional: set[int] = set()  # numbers of their patterns: there may be no operand that has to match
        self.path: list[str] = []  # locals with the nodes found so far
        self.watched = False  # whether the function asks what is fresh

    # -------------------------------------------------------------- the function

    def write(self, pivot: int, ordered: bool, join: bool) -> None:
        waiting = dict(enumerate(self.pats))
        self.start(waiting.pop(pivot), pivot)
        while True:
            self.check_root(pivot, ordered)
            self.drain()
            if not waiting:
                break
            self.join(waiting)
        unique = not self.eaches and all(self.determined(pat, self.names) for pat in self.numbered)
        required = [k for k in range(len(self.numbered)) if k not in self.optional]
        for each, operands in self.eaches:
            self.each(each, operands)
        where = [self.roots[k] for k in range(len(self.pats))]
        first = f"({', '.join(where)},)" if join else where[0]
        match = f"({', '.join([first, *[self.bound[name] for name in self.names]])},)"
        # Where a match doesn't determine its nodes, several of them may give the same one.
        self.put(f"out.append({match})" if unique else f"out[{match}] = None")
        self.put("if len(out) >= wanted: wanted = yield out")
        self.loops = 0
        self.put("yield out")
        self.lines[:0] = self.prologue("[]" if unique else "{}", required)

    def prologue(self, out: str, required: Sequence[int]) -> list[str]:
        lines = [
            "def search(eg, only):",
            "    wanted = yield",
            "    node, ids, parents, memo = eg._node, eg._ids, eg._parents, eg._memo",
            "    parent, operators = eg._sets.parent, eg._operators",
            "    select, get, bit = eg.symbols.select, eg.symbols.get, eg.symbols.bit",
        ]
        for k, pat in enumerate(self.numbered):
            lines.append(f"    T{k}, B{k} = select(PATS[{k}].op, PATS[{k}].attrs), bit(PATS[{k}].op)")
            if isinstance(pat.attrs, tuple):
                lines.append(f"    A{k} = PATS[{k}].attrs")
                if self.determined(pat, {}):
                    lines.append(f"    S{k} = get(PATS[{k}].op, A{k})")
        if self.watched:
            lines.append("    full, since, changed = freshness(only)")
        lines.append(f"    if not ({' and '.join(f'T{k}' for k in required)}): return")
        return [*lines, f"    out = {out}"]

    def start(self, pat: Pat, k: int) -> None:
        """Match the first pattern, from its root."""
        known, number = self.resolve_children(pat), self.number(pat)
        arguments = f"eg, T{number}, PATS[{number}].op, only"
        below = _below(pat)
        topped = -1
        if len(self.pats) > 1 or not below:
            source = f"roots({arguments})"
        else:
            topped, child = next(iter(below.items()))
            both = self.incremental and len(below) == 1 and isinstance(child, Pat) and _is_flat(child)
            first = child if isinstance(child, Pat) else child.pattern
            source = f"tops({arguments}, {self.positions(pat)[topped].partition(':')[0]}, {first.op!r}, {both})"
        found = self.node(pat, source, known, checked=topped)
        self.roots[k] = f"parent[{found}]"

    def join(self, waiting: dict[int, Pat]) -> None:
        """Match another pattern, from what it shares with the earlier ones upwards."""
        for k, pat in waiting.items():
            path = self.anchor(pat)
            if path is not None:
                del waiting[k]
                self.roots[k] = self.climb(pat, path)
                return
        raise RuleError(
            f"the left sides {', '.join(pat.op for pat in waiting.values())} share no class variable with the others: "
            "their matches would be a Cartesian product"
        )

    def check_root(self, pivot: int, ordered: bool) -> None:
        """Check the root that was found last."""
        k, c = list(self.roots.items())[-1]
        if k < pivot:
            self.fail_if(f"{c} in only")
        if ordered:
            self.fail_if(*[f"{self.roots[k - 1]} >= {c}"] if k - 1 in self.roots else [])
            self.fail_if(*[f"{c} >= {self.roots[k + 1]}"] if k + 1 in self.roots else [])

    def drain(self) -> None:
        """Match the pending sub-patterns, those with most known first."""
        while self.pending:
            item = min(self.pending, key=self.unknown)
            self.pending.remove(item)
            self.inside(*item)

    def unknown(self, item: tuple[Pat, str]) -> int:
        return 0 if self.resolvable(item[0]) else 1 if any(map(self.resolvable, item[0].children)) else 2

    @property
    def incremental(self) -> bool:
        """Whether the path has all nodes of the match so far, so that one of them has to be fresh in the end."""
        return len(self.pats) == 1 and not self.looked_up

    # -------------------------------------------------------------- one operator

    def inside(self, pat: Pat, c: str) -> None:
        """Match a pattern in a class that is known."""
        if self.resolvable(pat):
            self.fail_if(f"{self.resolve(pat)} != {c}")
            return
        known = self.resolve_children(pat)
        # The last node of a match has to be fresh where no earlier one is.
        fresh = " or ".join(["full", *[f"changed[{i}] >= since" for i in self.path]])
        last = self.incremental and not (self.pending or self.eaches) and _is_flat(pat)
        self.watched |= last
        if not known:
            new = f"[i for i in ids[{c}] if changed[i] >= since]"
            source = f"(ids[{c}] if {fresh} else {new})" if last else f"ids[{c}]"
            self.node(pat, source, known, dead=False)
            return
        users, own = self.local("p"), self.local("q")
        self.put(f"{users}, {own} = {self.fewest_users(known)}, ids[{c}]")
        found = self.node(pat, f"({users} if len({users}) < len({own}) else {own})", known, owner=c)
        if last:
            self.fail_if(f"not ({fresh} or changed[{found}] >= since)")

    def climb(self, pat: Pat, path: list[int]) -> str:
        """Match a pattern whose class isn't known, from the operand at the end of a path upwards; returns it."""
        if not path:
            return self.resolve(pat)
        child = pat.children[path[0]]
        known = {path[0]: self.climb(child, path[1:]) if isinstance(child, Pat) else self.resolve(child)}
        known |= self.resolve_children(pat, skip=path[0])
        return f"parent[{self.node(pat, self.fewest_users(known), known)}]"

    def fewest_users(self, known: dict[int, str]) -> str:
        users = [f"parents[{c}]" for c in dict.fromkeys(known.values())]
        return users[0] if len(users) == 1 else f"min({', '.join(users)}, key=len)"

    def node(
        self, pat: Pat, source: str, known: dict[int, str], dead: bool = True, owner: str = "", checked: int = -1
    ) -> str:
        """Open a loop over candidate nodes, and bind what the pattern binds. Returns the local with the node's id.

        Of the child at place ``checked`` it is known that it has a node of the wanted operator.
        """
        i, n, table = self.local("i"), self.local("n"), f"T{self.number(pat)}"
        self.loop(f"for {i} in {source}:")
        self.put(f"{n} = node[{i}]")
        variadic = any(isinstance(child, (Rest, Each)) for child in pat.children)
        size = f"len({n}) < {len(pat.children)}" if variadic else f"len({n}) != {1 + len(pat.children)}"
        place = [f"{n}[{position}]" for position in self.positions(pat)]
        self.fail_if(
            *([f"{n} is None"] if dead else []),
            f"{n}[0] not in {table}",
            size,
            *[f"{place[k]} != {c}" for k, c in known.items()],
            *([f"parent[{i}] != {owner}"] if owner else []),
        )
        for k, name in enumerate(attr_vars(pat)):
            self.bind(name, f"{table}[{n}[0]][{k}]")
        for k, child in enumerate(pat.children):
            if isinstance(child, (Var, Rest)):
                if k not in known:
                    self.bind(child.name, place[k])
            elif isinstance(child, Each):
                self.eaches.append((child, place[k]))
                self.optional.add(self.number(child.pattern))
                self.fail_if(f"lacks(operators, B{self.number(child.pattern)}, {place[k]})")
            elif k not in known:
                if k != checked:
                    self.fail_if(self.without(child, place[k]))
                self.pending.append((child, place[k]))
        self.path.append(i)
        return i

    def without(self, pat: Pat, c: str) -> str:
        """Whether a class has no node of a pattern's operator."""
        return f"not operators[{c}] & B{self.number(pat)}"

    def positions(self, pat: Pat) -> list[str]:
        """For each child of a pattern, its index or slice in a node."""
        found = []
        count = len(pat.children)
        after = False
        for k, child in enumerate(pat.children):
            if isinstance(child, (Rest, Each)):
                after = True
                found.append(f"{k + 1}:{k + 1 - count or ''}")
            else:
                found.append(str(k - count if after else k + 1))
        return found

    def each(self, each: Each, operands: str) -> None:
        """Match every operand by a function of its own, which returns the first match."""
        inner = _Program([], {})
        inner.numbered, inner.locals, inner.failure = self.numbered, self.locals, "return None"
        inner.bound = dict(self.bound)
        inner.inside(each.pattern, "c")
        inner.drain()
        own = [name for name in variables([each.pattern]) if name not in self.bound]
        inner.put(f"return ({''.join(inner.bound[name] + ', ' for name in own)})")
        inner.loops = 0
        inner.put("return None")
        self.locals, self.deepest = inner.locals, max(self.deepest, inner.deepest)
        match, rows, outer = self.local("e"), self.local("r"), list(self.bound.values())
        self.lines[:0] = [f"    def {match}({', '.join(['c', *outer])}):", *["    " + line for line in inner.lines]]
        self.put(f"{rows} = first_matches({', '.join([match, operands, *outer])})")
        self.fail_if(f"{rows} is None")
        for k, name in enumerate(own):
            self.bind(name, f"tuple([row[{k}] for row in {rows}])")
