"""The optimiser: a planning problem in, a plan and a proven bound out.

Start with ``problem`` (what is known), ``solve`` (the front door) and ``check`` (the judge). Nothing here reads a
clock, a store or a network of its own accord. ``solve`` and what it uses load numba and ortools; everything else is
light, and ``worker`` runs ``solve`` in a process of its own.
"""

from __future__ import annotations

from broker.optimiser.check import Verdict, check
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Prices, Progress, Report, Solved

__all__ = ["Plan", "Prices", "Problem", "Progress", "Report", "Solved", "Status", "Verdict", "check"]
