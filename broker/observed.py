"""What a server tells of itself while it serves: its audit file, its metrics, its health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from broker.domain.faults import Fault, FaultReason
from broker.feed import Feed
from broker.settings import ServeSettings
from broker.telemetry.audit import Audit
from broker.telemetry.metrics import Reading, expose
from broker.telemetry.traces import Traces
from broker.transport.guard import Guard
from broker.transport.load import Lane
from broker.transport.server import Health

__all__ = ["Observed", "health_of"]

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
HEAD_SECONDS = 60.0


class Observed:
    """Around a server's calls: a `guard` for them, and all that is told about them until `close`."""

    def __init__(self, settings: ServeSettings, feed: Feed, now_millis: Callable[[], int]) -> None:
        audit = Audit(settings.audit_dir, settings.slot, now_millis) if settings.audit_dir else None
        self.guard = Guard(audit=audit, traces=Traces.exporting() if settings.traces else None)
        self._feed = feed
        self._tasks = 0
        self._hide = expose(settings.metrics, self._readings, self.guard.tally) if settings.metrics else lambda: None
        self._ticking = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """End the audit file, and answer no more scrapes."""
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        if self.guard.audit is not None:
            self.guard.audit.close()
            self._tell_head(self.guard.audit)
        await asyncio.to_thread(self._hide)

    async def _tick(self) -> None:
        ticks = 0
        audit = self.guard.audit
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._tasks = len(asyncio.all_tasks())
            if audit is None:
                continue
            audit.tick()
            await asyncio.to_thread(audit.sync)
            ticks += 1
            if ticks * TICK_SECONDS % HEAD_SECONDS == 0:
                self._tell_head(audit)

    def _tell_head(self, audit: Audit) -> None:
        # Kept with the log, it shows whether the end of the file was cut off.
        log.info("audit: %d records, head %s", audit.records, audit.head, extra={"head": audit.head})

    def _readings(self) -> Iterator[Reading]:
        load, state = self.guard.load, health_of(self._feed.down)
        yield "broker_running_cost", (), load.running
        for lane in Lane:
            yield "broker_waiting_calls", (lane.name.lower(),), load.waiting(lane)
            yield "broker_shed_total", (lane.name.lower(),), load.shed[lane]
        for one in Health:
            yield "broker_state", (one.name.lower(),), one is state
        yield "broker_revision", (), self._feed.revision
        yield "broker_watches", (), self._feed.watches
        yield "broker_late_seconds", (), load.lag
        yield "broker_turned_away_ratio", (), load.lateness.part
        yield "broker_tasks", (), self._tasks
        yield "broker_claims", (), len(self._feed.outlook.claims)
        if (audit := self.guard.audit) is not None:
            yield "broker_audit_records_total", (), audit.records
            yield "broker_audit_lost_total", (), audit.lost


def health_of(down: Fault | None) -> Health:
    """What a server can do while its feed is down for that reason."""
    if down is None:
        return Health.SERVING
    return Health.HALTED if down.reason is FaultReason.SAFE_HALT else Health.RECOVERING
