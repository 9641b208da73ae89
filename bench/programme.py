"""A mixed-integer programme built from arrays, for MathOpt: a model of a million entries in a fraction of a second."""

from __future__ import annotations

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from broker.optimiser.problem import Floats, Ints

__all__ = ["Programme"]


class Programme:
    """Variables, rows and entries in the making; it is to be maximised."""

    def __init__(self) -> None:
        self._variables: list[tuple[Floats, Floats, bool]] = []  # upper bound, money, whole
        self._rows: list[tuple[Floats, Floats]] = []  # lower and upper bound
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._width = self._height = 0

    def variables(self, high: Floats, money: Floats, *, whole: bool = False) -> Ints:
        """New variables from 0 to ``high``; their numbers."""
        made = np.arange(self._width, self._width + len(high))
        self._variables.append((high, money, whole))
        self._width += len(high)
        return made

    def rows(self, low: Floats, high: Floats) -> Ints:
        """New rows between two bounds; their numbers."""
        made = np.arange(self._height, self._height + len(high))
        self._rows.append((low, high))
        self._height += len(high)
        return made

    def entries(self, row: Ints, column: Ints, amount: Floats | float) -> None:
        """Entries of the matrix, of which no two may be at the same place."""
        self._entries.append((row, column, np.broadcast_to(np.asarray(amount, np.float64), row.shape)))

    def model(self, *, largest: float) -> tuple[mathopt.Model, float]:
        """The model, and what its objective was multiplied by so that no coefficient is above ``largest``."""
        money = np.concatenate([money for _, money, _ in self._variables])
        scale = min(1.0, largest / max(1.0, float(np.abs(money).max(initial=0))))
        proto = model_pb2.ModelProto()
        proto.variables.ids.extend(np.arange(self._width))
        proto.variables.lower_bounds.extend(np.zeros(self._width))
        proto.variables.upper_bounds.extend(np.concatenate([high for high, _, _ in self._variables]))
        for high, _, whole in self._variables:
            proto.variables.integers.extend([whole] * len(high))
        paid = np.flatnonzero(money)
        proto.objective.maximize = True
        proto.objective.linear_coefficients.ids.extend(paid)
        proto.objective.linear_coefficients.values.extend(money[paid] * scale)
        proto.linear_constraints.ids.extend(np.arange(self._height))
        proto.linear_constraints.lower_bounds.extend(np.concatenate([low for low, _ in self._rows]))
        proto.linear_constraints.upper_bounds.extend(np.concatenate([high for _, high in self._rows]))
        row, column, amount = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        order = np.lexsort((column, row))
        proto.linear_constraint_matrix.row_ids.extend(row[order])
        proto.linear_constraint_matrix.column_ids.extend(column[order])
        proto.linear_constraint_matrix.coefficients.extend(amount[order])
        return mathopt.Model.from_model_proto(proto), scale
