"""The one door to numba, so that hot loops stay typed functions for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled", "inlined", "vectorised"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Without numba's reference counts: a count is an atomic write, and a loop over `t.rows[k]` would pay several an access.
# Such functions allocate nothing; their callers hand them the arrays to fill.
UNCOUNTED: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
# What lets a float maximum or minimum use wide registers; infinities keep their meaning, NaN has none here.
REORDERED = ("nnan", "nsz", "reassoc", "contract")


def compiled(function: Function) -> Function:
    """The same function as machine code, cached on disk, running without the interpreter lock; it may not allocate.

    The lock matters: the worker process listens for a cancel while a hot loop runs. Set ``NUMBA_CACHE_DIR`` where
    neither the package folder nor the home folder can be written.
    """
    return cast("Function", njit(**UNCOUNTED)(function))


def inlined(function: Function) -> Function:
    """Like ``compiled``, always made part of its caller.

    A call that hands over ``Tables`` copies some two hundred words; small functions of hot loops must not pay for it.
    """
    return cast("Function", njit(**UNCOUNTED, forceinline=True)(function))


def vectorised(function: Function) -> Function:
    """Like ``inlined``, where float sums may be taken in any order; for innermost loops."""
    return cast("Function", njit(**UNCOUNTED, forceinline=True, fastmath=set(REORDERED))(function))
