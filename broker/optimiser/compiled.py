"""The one door to numba, so that hot loops stay typed functions for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The same function as machine code, cached on disk, running without the interpreter lock.

    The lock matters: the worker process listens for a cancel while a hot loop runs. Set ``NUMBA_CACHE_DIR`` where
    neither the package folder nor the home folder can be written.
    """
    return cast("Function", njit(cache=True, nogil=True)(function))
