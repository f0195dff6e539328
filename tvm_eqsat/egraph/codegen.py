"""Patterns to Python source: nested loops over candidate nodes, with every index the e-graph has.

For each operator of a pattern the generated code takes the cheapest source of candidates that is known at that point:

- all operands known, attributes too: one look-up in the hash-cons;
- its class and an operand known: the shorter of the class's nodes and the operand's users;
- its class known: the class's nodes;
- an operand known, its class not (the second pattern of a join): the operand's users.

All sources are sorted by age, so the choice never changes the order of the matches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import RuleError
from .pattern import ANY, AttrVar, Child, Each, Pat, Rest, Var, attr_vars, variables
from .tables import Fresh, Touched

Search = Callable[..., list[tuple[Any, ...]]]


def roots(eg: Any, table: dict[int, Any], op: str, only: set[int] | None) -> list[int]:
    """Nodes of an operator in the classes of ``only``, oldest first; maybe more, some of them dead, if it is None."""
    found: list[int] = eg._by_op.get(op, [])
    if only is None:
        return found
    if isinstance(only, Touched):
        return only.with_op(op)
    if len(only) < len(found):
        node, ids = eg._node, eg._ids
        return sorted([i for c in only for i in ids[c] if node[i][0] in table])
    parent = eg._sets.parent
    return [i for i in found if parent[i] in only]


def fresh_roots(eg: Any, table: dict[int, Any], op: str, only: set[int] | None) -> list[int]:
    """The same, without nodes that are as they were: enough for a pattern of one operator."""
    return only.fresh.with_op(op) if isinstance(only, Touched) else roots(eg, table, op, only)


def tops(
    eg: Any, table: dict[int, Any], op: str, only: set[int] | None, place: int, below: str, both: bool
) -> list[int]:
    """The same, without nodes that top no new match, see :meth:`Touched.tops <.tables.Touched.tops>`."""
    return only.tops(op, place, below, both) if isinstance(only, Touched) else roots(eg, table, op, only)


def freshness(only: set[int] | None) -> tuple[bool, Fresh | tuple[()], dict[int, list[int]]]:
    """Whether all nodes count as fresh; which ones do; and these by class."""
    return (False, only.fresh, only.fresh.of_class()) if isinstance(only, Touched) else (True, (), {})


def first_matches(match: Callable[..., tuple[Any, ...] | None], operands: Sequence[int], *outer: Any) -> Any:
    """The first match of each operand, or None if one has none."""
    rows = []
    for operand in operands:
        row = match(operand, *outer)
        if row is None:
            return None
        rows.append(row)
    return rows


def generate(pats: Sequence[Pat], pivot: int = 0, ordered: bool = False, join: bool = False) -> tuple[Search, str]:
    """Compile patterns that share variables into one function ``search(eg, limit, only)``.

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
        The function and its source.

    Raises
    ------
    RuleError
        The patterns don't hang together, or are too large.
    """
    program = _Program(list(pats), variables(pats))
    program.write(pivot, ordered, join)
    source = "\n".join(program.lines) + "\n"
    helpers = (roots, fresh_roots, tops, freshness, first_matches)
    scope: dict[str, Any] = {"PATS": program.numbered, **{helper.__name__: helper for helper in helpers}}
    try:
        exec(compile(source, f"<pattern of {pats[0].op}>", "exec"), scope)
    except SyntaxError as error:  # Python nests at most 20 loops
        raise RuleError(f"the left side starting at {pats[0].op!r} has too many operators: split the rule") from error
    return scope["search"], source


def _below(pat: Pat) -> dict[int, Pat | Each]:
    """Children that are operators again, by position."""
    return {k: child for k, child in enumerate(pat.children) if not isinstance(child, (Var, Rest))}


def _is_flat(pat: Pat) -> bool:
    """Whether a pattern is one operator."""
    return not _below(pat)


class _Program:
    """The function being written. Its locals are numbered: names and values of a pattern never get into the source."""

    def __init__(self, pats: list[Pat], names: dict[str, bool]) -> None:
        self.pats = pats
        self.names = names
        self.lines: list[str] = []
        self.numbered: list[Pat] = []  # T0, T1, … are the symbols that these admit
        self.bound: dict[str, str] = {}  # variable -> local that holds it
        self.roots: dict[int, str] = {}  # pattern -> its root class
        self.pending: list[tuple[Pat, str]] = []  # sub-patterns, and the local that holds their class
        self.eaches: list[tuple[Each, str]] = []  # matched last, when all that occurs outside is bound
        self.loops = 0
        self.locals = 0
        self.path: list[str] = []  # locals with the nodes found so far
        self.incremental = len(pats) == 1  # whether those are all nodes of the match, so that one has to be fresh
        self.watched = False  # whether the function asks what is fresh
        self.failure = "return []"  # how to give up outside of any loop

    # -------------------------------------------------------------- writing

    def put(self, line: str) -> None:
        self.lines.append("    " * (1 + self.loops) + line)

    def loop(self, header: str) -> None:
        self.put(header)
        self.loops += 1

    def fail_if(self, *conditions: str) -> None:
        if conditions:
            self.put(f"if {' or '.join(conditions)}: {'continue' if self.loops else self.failure}")

    def local(self, kind: str) -> str:
        self.locals += 1
        return f"{kind}{self.locals}"

    def number(self, pat: Pat) -> int:
        for k, known in enumerate(self.numbered):
            if known is pat:
                return k
        self.numbered.append(pat)
        return len(self.numbered) - 1

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
        required = len(self.numbered)
        for each, operands in self.eaches:
            self.each(each, operands)
        where = [self.roots[k] for k in range(len(self.pats))]
        first = f"({', '.join(where)},)" if join else where[0]
        match = f"({', '.join([first, *[self.bound[name] for name in self.names]])},)"
        # Where a match doesn't determine its nodes, several of them may give the same one.
        self.put(f"out.append({match})" if unique else f"out[{match}] = None")
        result = "out" if unique else "list(out)"
        self.put(f"if len(out) >= limit: return {result}")
        self.loops = 0
        self.put(f"return {result}")
        self.lines[:0] = self.prologue("[]" if unique else "{}", required)

    def prologue(self, out: str, required: int) -> list[str]:
        lines = [
            "def search(eg, limit, only):",
            "    node, ids, parents, memo = eg._node, eg._ids, eg._parents, eg._memo",
            "    parent, select, get = eg._sets.parent, eg.symbols.select, eg.symbols.get",
        ]
        for k, pat in enumerate(self.numbered):
            lines.append(f"    T{k} = select(PATS[{k}].op, PATS[{k}].attrs)")
            if isinstance(pat.attrs, tuple):
                lines.append(f"    A{k} = PATS[{k}].attrs")
                if self.determined(pat, {}):
                    lines.append(f"    S{k} = get(PATS[{k}].op, A{k})")
        if self.watched:
            lines.append("    full, fresh, fresh_in = freshness(only)")
        lines.append(f"    if not ({' and '.join(f'T{k}' for k in range(required))}): return []")
        return [*lines, f"    out = {out}"]

    def start(self, pat: Pat, k: int) -> None:
        """Match the first pattern, from its root."""
        known, number = self.resolve_children(pat), self.number(pat)
        arguments = f"eg, T{number}, PATS[{number}].op, only"
        below = _below(pat)
        if len(self.pats) > 1:
            source = f"roots({arguments})"
        elif not below:
            source = f"fresh_roots({arguments})"
        else:
            place, child = next(iter(below.items()))
            both = self.incremental and len(below) == 1 and isinstance(child, Pat) and _is_flat(child)
            first = child if isinstance(child, Pat) else child.pattern
            source = f"tops({arguments}, {self.positions(pat)[place].partition(':')[0]}, {first.op!r}, {both})"
        found = self.node(pat, source, known)
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

    # -------------------------------------------------------------- one operator

    def inside(self, pat: Pat, c: str) -> None:
        """Match a pattern in a class that is known."""
        if self.resolvable(pat):
            self.fail_if(f"{self.resolve(pat)} != {c}")
            return
        known = self.resolve_children(pat)
        # The last node of a match has to be fresh where no earlier one is.
        fresh = " or ".join(["full", *[f"{i} in fresh" for i in self.path]])
        last = self.incremental and not (self.pending or self.eaches) and _is_flat(pat)
        self.watched |= last
        if not known:
            source = f"(ids[{c}] if {fresh} else fresh_in.get({c}, ()))" if last else f"ids[{c}]"
            self.node(pat, source, known, dead=False)
            return
        users, own = self.local("p"), self.local("q")
        self.put(f"{users}, {own} = {self.fewest_users(known)}, ids[{c}]")
        found = self.node(pat, f"({users} if len({users}) < len({own}) else {own})", known, owner=c)
        if last:
            self.fail_if(f"not ({fresh} or {found} in fresh)")

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

    def node(self, pat: Pat, source: str, known: dict[int, str], dead: bool = True, owner: str = "") -> str:
        """Open a loop over candidate nodes, and bind what the pattern binds. Returns the local with the node's id."""
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
            elif k not in known:
                self.pending.append((child, place[k]))
        self.path.append(i)
        return i

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

    def bind(self, name: str, value: str) -> None:
        if name in self.bound:
            self.fail_if(f"{value} != {self.bound[name]}")
        else:
            self.bound[name] = self.local("v")
            self.put(f"{self.bound[name]} = {value}")

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
        self.locals = inner.locals
        match, rows, outer = self.local("e"), self.local("r"), list(self.bound.values())
        self.lines[:0] = [f"    def {match}({', '.join(['c', *outer])}):", *["    " + line for line in inner.lines]]
        self.fail_if(f"{operands} and not T{self.number(each.pattern)}")  # no node at all can match
        self.put(f"{rows} = first_matches({', '.join([match, operands, *outer])})")
        self.fail_if(f"{rows} is None")
        for k, name in enumerate(own):
            self.bind(name, f"tuple([row[{k}] for row in {rows}])")

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
        self.incremental = False
        operands = [("*" if isinstance(k, Rest) else "") + self.resolve(k) for k in child.children]
        number, c = self.number(child), self.local("c")
        self.put(f"{c} = memo.get(({', '.join([self.symbol(child, number), *operands])},))")
        self.fail_if(f"{c} is None")
        self.put(f"{c} = parent[{c}]")
        return c

    def symbol(self, pat: Pat, number: int) -> str:
        if isinstance(pat.attrs, AttrVar):
            return f"get(PATS[{number}].op, {self.bound[pat.attrs.name]})"
        if not attr_vars(pat):
            return f"S{number}"
        attrs = enumerate(pat.attrs or ())
        values = [self.bound[a.name] if isinstance(a, AttrVar) else f"A{number}[{k}]" for k, a in attrs]
        return f"get(PATS[{number}].op, ({', '.join(values)},))"

    def resolve_children(self, pat: Pat, skip: int = -1) -> dict[int, str]:
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
