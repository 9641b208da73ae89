"""Functions for a process of its own that do not end well; the child has to find them by name."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from bench.isolated import STARTED

Post = Callable[[object], None]


def adds(post: Post, a: int, b: int) -> int:
    """Ends well, for comparison."""
    post(STARTED)
    post("half way")
    return a + b


def never_ends(post: Post) -> None:
    """Overruns every limit."""
    post(STARTED)
    post("what it had")
    threading.Event().wait()


def dies(post: Post) -> None:
    """Gone without a word."""
    post(STARTED)
    post("what it had")
    os._exit(7)


def raises(post: Post) -> None:
    """Fails and says why."""
    post(STARTED)
    raise ValueError("no good")
