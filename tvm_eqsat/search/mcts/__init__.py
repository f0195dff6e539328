"""Monte Carlo tree search for the e-graph to build where saturation never ends."""

from .judge import Budget, Judge
from .schedule import grow_by_mcts
from .usefulness import SCORES, Usefulness

__all__ = ["SCORES", "Budget", "Judge", "Usefulness", "grow_by_mcts"]
