"""Faults put into the code on purpose: each must make one named test fail. ``python -m tests.mutants`` runs them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "mutants"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """In ``file``, ``old`` (which is there once) becomes ``new``; ``test``, as pytest takes it, must fail of it."""

    id: str
    file: str
    old: str
    new: str
    test: str


def mutants() -> Iterator[tuple[str, Mutant]]:
    """Every mutant with the part it belongs to: those that the modules of this folder name."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{path.stem}")
        for value in vars(module).values():
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, Mutant):
                    yield path.stem, one
