"""A client that loses every server in the middle of its work loses nothing, and does nothing twice."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from capacitybroker import TIER_SPOT, Claim, Client, duration

from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.follower import Follower
from broker.cli.local_server import local_server

CLAIMS, KILL_AT = 60, 20
SMALL = Claim(workload_class="research", devices=8, duration=duration(hours=2), tier=TIER_SPOT, gang=True)


def test_kill_9_of_all_servers_is_a_pause_and_nothing_more(tmp_path: Path) -> None:
    changes: list[tuple[str, int]] = []
    fleet = fleet_from_text(default_fleet_text(), today=datetime(2026, 11, 23, tzinfo=UTC))
    with (
        local_server(tmp_path, workers=2) as server,
        Client(server.address, tenant="research", timeout=60) as client,
    ):
        client.apply_fleet(fleet)
        with Follower(server.address, lambda claim: changes.append((claim.name, claim.revision))) as follower:
            made = []
            for number in range(CLAIMS):
                if number == KILL_AT:
                    for name, pid in server.pids.items():
                        if name.startswith("server"):
                            os.kill(pid, signal.SIGKILL)
                made.append(client.create_claim(SMALL))
            follower.wait_for(made[-1].revision, seconds=60)
        listed = {claim.name for claim in client.list_claims()}
    assert listed == {claim.name for claim in made}
    assert {(claim.name, claim.revision) for claim in made} <= set(changes)
    assert len(changes) == len(set(changes))
    revisions = [revision for _, revision in changes]
    assert revisions == sorted(revisions)
