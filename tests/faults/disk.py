"""Stores on a disk that can lose power or be full: a shim between the store and the kernel, built with cc."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.ledger.redis.embedded import EmbeddedStore

__all__ = ["Disk"]

SOURCE = Path(__file__).parent / "disk.c"


@dataclass
class Disk:
    """A directory for a store, and what its disk really has."""

    directory: Path
    shim: Path
    patch: pytest.MonkeyPatch

    @classmethod
    def made(cls, tmp_path: Path, patch: pytest.MonkeyPatch) -> Disk:
        """Skips the test where there is no C compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler for the shim")
        shim = tmp_path / "disk.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, SOURCE, "-ldl"], check=True)
        return cls(tmp_path / "store", shim, patch)

    @property
    def full(self) -> Path:
        """There while the disk has no space."""
        return self.shim.with_name("full")

    @property
    def synced(self) -> Path:
        """What was synced, line by line."""
        return self.shim.with_name("synced")

    def start(self) -> EmbeddedStore:
        """A store on this disk."""
        with self.patch.context() as patch:
            patch.setenv("LD_PRELOAD", str(self.shim))
            patch.setenv("DISK_SYNCED", str(self.synced))
            patch.setenv("DISK_FULL", str(self.full))
            return EmbeddedStore.start(self.directory)

    def lose_power(self, store: EmbeddedStore) -> int:
        """The store ends, and its file ends where it was last synced; how many bytes were lost."""
        store.kill()
        size, _, path = self.synced.read_text().splitlines()[-1].partition(" ")
        lost = Path(path).stat().st_size - int(size)
        os.truncate(path, int(size))
        return lost
