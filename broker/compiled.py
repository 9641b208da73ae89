"""The one door to numba, so that hot loops stay typed functions for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import types
from numba.extending import typeof_impl

__all__ = ["allocating", "compiled", "inlined", "of_one_type", "vectorised"]

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


def allocating(function: Function) -> Function:
    """Like ``compiled``, but it may allocate, and pays for counting references: not for hot loops."""
    return cast("Function", njit(cache=True, nogil=True)(function))


def inlined(function: Function) -> Function:
    """Like ``compiled``, always made part of its caller.

    A call that hands over ``Tables`` copies some two hundred words; small functions of hot loops must not pay for it.
    """
    return cast("Function", njit(**UNCOUNTED, forceinline=True)(function))


def vectorised(function: Function) -> Function:
    """Like ``inlined``, where float sums may be taken in any order; for innermost loops."""
    return cast("Function", njit(**UNCOUNTED, forceinline=True, fastmath=set(REORDERED))(function))


def of_one_type(*columns: str) -> Callable[[type], type]:
    """Make values of a named tuple one type to numba: ``columns`` may be views of a block or arrays of their own.

    A view with a single element counts as contiguous, and a market of one request would compile everything anew.
    """

    def register(kind: type) -> type:
        @typeof_impl.register(kind)
        def _(value: Any, c: Any) -> Any:
            parts = {name: typeof_impl(part, c) for name, part in value._asdict().items()}
            strided = {name: parts[name].copy(layout="A") for name in columns}
            return types.BaseTuple.from_types(list((parts | strided).values()), kind)  # type: ignore[no-untyped-call]

        return kind

    return register
