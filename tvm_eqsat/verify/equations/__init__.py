"""Equations between tensor programs, checked: proved by the rules, or true or false by exact evaluation.

``python -m tvm_eqsat.verify.equations FILE`` reads equations as TASO prints those that it generates, and so tests the
rules against what another system found out by enumeration.
"""

from .check import Report, Status, Verdict, check_file, check_lines
from .prover import Proof, prove
from .syntax import Equation, Expr, parse

__all__ = ["Equation", "Expr", "Proof", "Report", "Status", "Verdict", "check_file", "check_lines", "parse", "prove"]
