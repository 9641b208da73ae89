"""Runs a measurement in a process of its own: its memory is its own, and it can be killed.

What the function posts while it works stays here, so that a solver that overruns its limit or dies loses nothing but
what it had not told.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["STARTED", "Ended", "isolated", "peak_mib"]

STARTED = "started"  # posted when loading is over: the deadline counts from here
LOADING_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went: ``result`` is None when the process was killed, died or raised, and then ``trouble`` says which."""

    result: Any
    posted: tuple[Any, ...]
    seconds: float  # since it started
    peak_mib: int
    trouble: str


def isolated(function: Callable[..., Any], *arguments: Any, seconds: float) -> Ended:
    """``function(post, *arguments)`` in a fresh process that is killed ``seconds`` after it posted ``STARTED``."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(there, function, arguments), daemon=True)
    process.start()
    there.close()
    posted: list[Any] = []
    began = time.perf_counter()
    deadline = began + LOADING_SECONDS_MAX
    result, trouble, peak = None, "", 0
    while True:
        if not here.poll(max(0.0, deadline - time.perf_counter())):
            peak, trouble = peak_mib(process.pid), "killed"
            process.kill()
            break
        try:
            kind, content = here.recv()
        except EOFError:
            process.join()
            trouble = f"died with exit code {process.exitcode}"
            break
        if kind == "posted" and content == STARTED:
            began = time.perf_counter()
            deadline = began + seconds
        elif kind == "posted":
            posted.append(content)
        else:
            result, trouble, peak = content
            break
    spent = time.perf_counter() - began
    here.close()
    process.join()
    return Ended(result, tuple(posted), spent, peak, trouble)


def peak_mib(pid: int | None = None) -> int:
    """Most memory that a process ever held; 0 where the system does not say."""
    status = Path("/proc") / (str(pid) if pid else "self") / "status"
    # The figure of getrusage would be that of the parent until the child outgrew it.
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.is_file() else None
    return int(found[1]) // 1024 if found else 0


def _run(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The child: solvers that write to the terminal of their own accord are not listened to."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        result, trouble = function(lambda content: pipe.send(("posted", content)), *arguments), ""
    except Exception:  # noqa: BLE001 - whatever it is, the parent prints it
        result, trouble = None, traceback.format_exc(limit=-3)
    pipe.send(("ended", (result, trouble, peak_mib())))
    pipe.close()
