"""Local search"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Callable

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .greedy_dag import greedy
from .problem import Problem
from .reduce import reduce
from .selection import Selection
from .tree import cheapest_trees


class Search:
    def __init__(self, problem: Problem, choice, stop: Callable[[int], bool]) -> None:
        self.problem = problem
        self.selection = Selection(problem, choice, problem.components())
        self.threshold = 1e-9 * self.selection.cost
        self.stop = stop
        self.alternatives = [len(nodes) > 1 for nodes in problem.nodes]
        self.mergers = [len({problem.owner[i] for i in users}) > 1 for users in problem.users]
        self.singles: deque[int] = deque()
        self.merges: deque[int] = deque()
        self.queued = [False] * len(problem.nodes)

    def enqueue(self, c: int) -> None:
        if not self.queued[c]:
            if self.selection.refs[c]:
                if self.alternatives[c]:
                    self.queued[c] = True
                    self.singles.append(c)
            elif self.mergers[c]:
                self.queued[c] = True
                self.merges.append(c)

    def touch(self, changed: Iterable[int]) -> None:
        problem, enqueue = self.problem, self.enqueue
        owner, kids = problem.owner, problem.kids
        for c in dict.fromkeys(changed):
            enqueue(c)
            for i in problem.users[c]:
                enqueue(owner[i])
            for i in problem.nodes[c]:
                for kid in kids[i]:
                    enqueue(kid)

    def improve_singly(self, locked=()) -> list[int]:
        """Best single flips until none helps. Returns what came alive or died."""
        selection, singles, queued = self.selection, self.singles, self.queued
        owner, users = self.problem.owner, self.problem.users
        everything: list[int] = []
        while singles:
            c = singles.popleft()
            queued[c] = False
            if selection.refs[c] and c not in locked:
                changed = selection.improve(c, self.threshold)
                if changed is not None:
                    everything += changed
                    for d in changed:
                        self.enqueue_single(d)
                        for i in users[d]:
                            self.enqueue_single(owner[i])
        return everything

    def enqueue_single(self, c):
        if not self.queued[c] and self.selection.refs[c] and self.alternatives[c]:
            self.queued[c] = True
            self.singles.append(c)

    def settle(self) -> None:
        """Down to a local optimum"""
        selection = self.selection
        while (self.singles or self.merges) and not self.stop(selection.work):
            if self.singles:
                self.touch(self.improve_singly())
            else:
                c = self.merges.popleft()
                self.queued[c] = False
                if not selection.refs[c]:
                    self.merge(c)

    def bundle(self, c: int, wide: bool) -> dict[int, int]:
        selection, problem = self.selection, self.problem
        refs, choice, owner, kids, cost = selection.refs, selection.choice, problem.owner, problem.kids, problem.cost
        slack = 1e-3 * selection.cost
        flips: dict[int, int] = {}
        served = {c}
        front = [c]
        for _ in range(2):
            reached = []
            for d in front:
                for i in problem.users[d]:
                    user = owner[i]
                    if user in served or (user in flips and cost[flips[user]] <= cost[i]):
                        continue
                    if wide and refs[user] and cost[i] > cost[choice[user]] + slack:
                        continue
                    for kid in kids[i]:
                        if not refs[kid] and kid not in served:
                            break
                    else:
                        if user not in flips and (wide or not refs[user]):
                            reached.append(user)
                        flips[user] = i
            served.update(reached)
            front = reached
        selection.work += len(flips)
        return flips

    def flip_all(self, flips: dict[int, int]) -> list[int]:
        selection = self.selection
        changed: list[int] = []
        for c, i in flips.items():
            if selection.choice[c] != i:
                changed += selection.flip(c, i)
        return changed

    def flip_safely(self, flips):
        selection = self.selection
        changed: list[int] = []
        for c, i in flips.items():
            if selection.choice[c] != i:
                mark = len(selection.log)
                now = selection.flip(c, i)
                if selection.closes_cycle(c):
                    selection.undo(mark)
                else:
                    changed += now
        return changed

    def merge(self, c: int, wide=False) -> bool:
        selection = self.selection
        flips = self.bundle(c, wide)
        if sum(1 for user in flips if selection.refs[user]) < 2:
            return False
        bar, mark = selection.cost - self.threshold, len(selection.log)
        changed = self.flip_all(flips)
        if selection.cost < bar and any(map(selection.closes_cycle, flips)):
            selection.undo(mark)
            changed = self.flip_safely(flips)
        if selection.cost < bar:
            self.touch(changed)
            return True
        selection.undo(mark)
        return False

    def refresh(self) -> None:
        selection, problem = self.selection, self.problem
        live = [c for c, count in enumerate(selection.refs) if count]
        for c, i in enumerate(cheapest_trees(problem.kids, problem.cost, problem.owner, problem.users, live)):
            if i >= 0 and selection.choice[c] != i:
                selection.choice[c] = i
                self.enqueue(c)
                for j in problem.users[c]:
                    self.enqueue(problem.owner[j])

    def descend(self):
        selection = self.selection
        self.settle()
        while not self.stop(selection.work):
            before = selection.cost
            selection.log.clear()
            self.refresh()
            self.settle()
            if selection.cost >= before - self.threshold:
                break

    def attempt(self, flips) -> bool:
        """Flip, repair by single flips; keep it if it is cheaper"""
        selection = self.selection
        bar, mark = selection.cost - self.threshold, len(selection.log)
        changed = self.flip_safely(flips)
        for c in changed:
            self.enqueue_single(c)
            for i in self.problem.users[c]: self.enqueue_single(self.problem.owner[i])
        changed += self.improve_singly(flips)
        for c in flips: self.enqueue_single(c)
        changed += self.improve_singly()
        if selection.cost < bar:
            self.touch(changed)
            return True
        selection.undo(mark)
        return False

    def flips(self, cand):
        c,i=cand
        s=self.selection
        if s.refs[c]:
            return {c:i} if i>=0 and s.choice[c]!=i else {}
        if i>=0: return {}
        f=self.bundle(c,i==-2)
        return f if len(f)>1 else {}

    def candidates(self):
        selection=self.selection;p=self.problem
        out=[]
        for c in range(len(p.nodes)):
            if selection.refs[c]:
                if self.alternatives[c]:
                    out+=[(c,i) for i in p.nodes[c] if i!=selection.choice[c]]
            elif self.mergers[c]:
                out.append((c,-1));out.append((c,-2))
        return out
    def loss(self,cand):
        s=self.selection
        f=self.flips(cand)
        if not f: return None
        mark=len(s.log);b=s.cost
        self.flip_all(f);l=s.cost-b
        s.undo(mark)
        return l
    def rounds(self,verbose=False):
        s=self.selection
        while not self.stop(s.work):
            T=time.process_time();t=T
            todo=sorted((l,c) for c in self.candidates() if (l:=self.loss(c)) is not None)
            t1=time.process_time()
            hits=[];n=0
            for l,c in todo:
                if self.stop(s.work): break
                f=self.flips(c)
                if f:
                    n+=1
                    if self.attempt(f):
                        self.settle();hits.append((n,round(s.cost,5)))
            t2=time.process_time()
            b=s.cost;s.log.clear()
            self.refresh();self.settle()
            if verbose: print('     round cands',len(todo),'losstime',round(t1-T,2),'tried',n,'time',round(t2-t1,2),'work',s.work,'hits',len(hits),hits[-4:],s.cost)
            if not hits and s.cost>b-self.threshold:break


def run(problem, effort=10**6, verbose=False):
    T = time.process_time
    t = T()
    a = greedy(problem); b = cheapest_trees(problem.kids, problem.cost, problem.owner, problem.users)
    if problem.total(b) < problem.total(a): a = b
    s = Search(problem, a, lambda work: work > effort)
    t1 = T()
    if verbose: print('   init', round(t1 - t, 3), s.selection.cost)
    for c in range(len(problem.nodes)): s.enqueue(c)
    s.descend()
    if verbose: print('   descend', round(T() - t1, 3), s.selection.cost, s.selection.work)
    s.rounds(verbose)
    if verbose: print('   all', round(T() - t1, 3), s.selection.cost, s.selection.work)
    return s.selection.choice
