"""CP-SAT of OR-tools, if it is installed, beside HiGHS: which of them is faster differs from e-graph to e-graph.

It runs in a process of its own, since neither solver can be interrupted otherwise.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any

from .model import Solved
from .problem import Problem, strong_components

_UNIT = 1e12  # the best program so far, in the integers in which CP-SAT counts
_SPARE = 0.5  # seconds for its answer to get through
_CALL = "import sys; sys.path[:] = {}; from tvm_eqsat.extract.cpsat import main; main({!r}, {!r})"


class Race:
    """CP-SAT at work on a problem, as a context: it is stopped at the end.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    alive : sequence of bool
        Nodes that may be chosen.
    choice : sequence of int
        A program to start from.
    deadline : float
        On the clock of ``time.monotonic``; without one there is no race, since nobody could repeat its result.
    """

    def __init__(self, problem: Problem, alive: Sequence[bool], choice: Sequence[int], deadline: float) -> None:
        self.possible = deadline < inf and find_spec("ortools") is not None
        self.deadline = deadline
        self._program = (problem, alive, choice)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Race:
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-eqsat-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def result(self) -> Solved | None:
        """What it came to, or None if it isn't done. The first call starts it."""
        source, target = Path(self._folder.name, "problem"), Path(self._folder.name, "result")
        if self._process is None:
            seconds = self.deadline - time.monotonic() - _SPARE
            if self.possible and seconds > 0:
                source.write_bytes(pickle.dumps(_flat(*self._program, seconds)))
                call = _CALL.format(sys.path, str(source), str(target))
                quiet = subprocess.DEVNULL
                self._process = subprocess.Popen([sys.executable, "-c", call], stdin=quiet, stdout=quiet, stderr=quiet)
            return None
        if self._process.poll() is None or not target.exists():
            return None
        result: Solved = pickle.loads(target.read_bytes())
        return result


def _flat(problem: Problem, alive: Sequence[bool], choice: Sequence[int], seconds: float) -> dict[str, Any]:
    live = set(problem.needs(choice))
    return {
        "goal": problem.goal,
        "nodes": [[i for i in members if alive[i]] for members in problem.nodes],
        "kids": problem.kids,
        "cost": problem.cost,
        "unit": problem.total(choice) / _UNIT,
        "hint": [i if c in live else -1 for c, i in enumerate(choice)],
        "seconds": seconds,
    }


def main(source: str, target: str) -> None:
    """Solve the problem in a file, and write the result to another."""
    data = pickle.loads(Path(source).read_bytes())
    Path(target + ".part").write_bytes(pickle.dumps(solve(**data)))
    os.replace(target + ".part", target)


def solve(
    goal: int,
    nodes: Sequence[Sequence[int]],
    kids: Sequence[Sequence[int]],
    cost: Sequence[float],
    unit: float,
    hint: Sequence[int],
    seconds: float,
) -> Solved:
    """Choose a node for each class that the goal needs, without a cycle, at the least total cost.

    Parameters
    ----------
    goal : int
        The class to produce.
    nodes, kids, cost
        As in :class:`~tvm_eqsat.extract.problem.Problem`, but for nodes that may not be chosen.
    unit : float
        Costs are rounded down to multiples of it.
    hint : sequence of int
        Node of each class in a program to start from; -1 for a class that it doesn't have.
    seconds : float
        Time limit.
    """
    cp_model: Any = import_module("ortools.sat.python.cp_model")
    model = cp_model.CpModel()
    reached = [goal]
    has = {goal: model.new_constant(1)}
    for c in reached:  # grows
        for i in nodes[c]:
            for kid in kids[i]:
                if kid not in has:
                    has[kid] = model.new_bool_var("")
                    model.add_hint(has[kid], hint[kid] >= 0)
                    reached.append(kid)
    tails = [c for c in reached for i in nodes[c] for _ in kids[i]]
    heads = [kid for c in reached for i in nodes[c] for kid in kids[i]]
    component = strong_components(tails, heads, len(nodes))
    size: dict[int, int] = {}
    for c in reached:
        size[component[c]] = size.get(component[c], 0) + 1
    level = {c: model.new_int_var(0, size[component[c]] - 1, "") for c in reached if size[component[c]] > 1}
    takes = {}
    for c in reached:
        for i in nodes[c]:
            takes[i] = has[c] if len(nodes[c]) == 1 else model.new_bool_var("")
            for kid in kids[i]:
                model.add_implication(takes[i], has[kid])
                if component[kid] == component[c]:
                    model.add(level[c] > level[kid]).only_enforce_if(takes[i])
        if len(nodes[c]) != 1:
            model.add(sum(takes[i] for i in nodes[c]) == has[c])
            for i in nodes[c]:
                model.add_hint(takes[i], hint[c] == i)
    model.minimize(sum(int(cost[i] / unit) * taken for i, taken in takes.items()))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    bound = solver.best_objective_bound * unit
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solved(0.0, None, False)
    choice = [-1] * len(nodes)
    for c in reached:
        for i in nodes[c]:
            if solver.value(takes[i]):
                choice[c] = i
    return Solved(bound, choice, status == cp_model.OPTIMAL)
