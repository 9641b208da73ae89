"""What a broker remembers of its market outside of the store: one that has gone back is not believed after a restart.

While a broker runs, its processes notice by themselves. A file in the data directory tells those that start later.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from broker.domain.faults import Fault, FaultReason

__all__ = ["Witness"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Witness:
    """The market's incarnation, and a revision that it has reached for certain; kept in ``directory``."""

    directory: Path
    market: str
    _told: tuple[str, int] = ("", -1)

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return self.directory / f"witness-{self.market}.json"

    def check(self, incarnation: str, revision: int) -> None:
        """Faults: SAFE_HALT when the market is not the one that was seen here, or has gone back."""
        try:
            seen = json.loads(self.file.read_text(encoding="utf-8"))
            before, reached = str(seen["incarnation"]), int(seen["revision"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if (incarnation, max(revision, reached)) == (before, revision):
            return
        raise Fault(
            FaultReason.SAFE_HALT,
            f"market {self.market} was {before} at revision {reached}, and the store has {incarnation} at {revision}",
            remedy="Bring back the store that has the rest. If it is lost for good: broker accept --data-dir "
            f"{self.directory}",
        )

    def note(self, incarnation: str, revision: int) -> None:
        """Remember it, if it is news; a directory that cannot be written to is no reason to stop."""
        if self._told == (incarnation, revision):
            return
        fresh = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps({"incarnation": incarnation, "revision": revision}), encoding="utf-8")
            fresh.replace(self.file)
        except OSError as error:
            if self._told[1] < 0:
                log.warning("cannot remember the market's revision in %s: %s", self.file, error)
        self._told = incarnation, revision

    def forget(self) -> None:
        """An operator accepts the market as it is."""
        self.file.unlink(missing_ok=True)
