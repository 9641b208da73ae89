"""The facts behind a reason, as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from broker.cli.show import dollars, short

__all__ = ["in_words"]

SPOKEN = {
    "pool",
    "start_unix_seconds",
    "needed_devices",
    "free_devices",
    "value_microusd",
    "price_microusd",
    "from_unix_seconds",
    "until_unix_seconds",
    "new_pool",
    "new_start_unix_seconds",
}
SPOKEN |= {"by_tier", "by", "end_unix_seconds", "left_ppm", "times", "times_most"}


def in_words(facts: Mapping[str, str]) -> str:
    """``needs 4,608 devices, 2,380 free at best; worth $9.29m against a price of $9.33m; at … in contract-1``.

    Facts that only newer brokers send come last, as they are.
    """
    numbers = {key: int(value) for key, value in facts.items() if value.removeprefix("-").isdecimal()}
    said = [_room(numbers), _money(numbers), _place(facts, numbers), _away(numbers), _instead(facts, numbers)]
    said.append(_giving_way(facts, numbers))
    said += [f"{key.replace('_', ' ')} {value}" for key, value in sorted(facts.items()) if key not in SPOKEN]
    return "; ".join(filter(None, said))


def _room(numbers: Mapping[str, int]) -> str:
    needed = f"needs {numbers['needed_devices']:,} devices" if "needed_devices" in numbers else ""
    free = f"{numbers['free_devices']:,} free at best" if numbers.get("free_devices", -1) >= 0 else ""
    return ", ".join(filter(None, (needed, free)))


def _money(numbers: Mapping[str, int]) -> str:
    worth = f"worth {dollars(numbers['value_microusd'])}" if "value_microusd" in numbers else ""
    price = f"a price of {dollars(numbers['price_microusd'])}" if numbers.get("price_microusd") else ""
    return " against ".join(filter(None, (worth, price)))


def _place(facts: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    start = numbers.get("start_unix_seconds", 0)
    moment = f"at {_when(start)}" if start > 0 else ""
    pool = f"in {short(facts['pool'])}" if facts.get("pool") else ""
    return " ".join(filter(None, (moment, pool)))


def _away(numbers: Mapping[str, int]) -> str:
    ends = [numbers.get(key, 0) for key in ("from_unix_seconds", "until_unix_seconds")]
    return f"short from {_when(ends[0])} to {_when(ends[1])}" if all(ends) else ""


def _instead(facts: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    start = numbers.get("new_start_unix_seconds", 0)
    return f"now in {short(facts['new_pool'])} from {_when(start)}" if facts.get("new_pool") and start else ""


def _giving_way(facts: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    if "left_ppm" not in numbers:
        return ""
    who = ", ".join(short(name) for name in facts["by"].split(",")) if facts.get("by") else "others"
    tiers = facts.get("by_tier", "").lower().replace(",", " and ")
    times = f", time {numbers.get('times', 1)} of {numbers.get('times_most', 1)}"
    until = _when(numbers.get("end_unix_seconds", 0))
    return f"ends {until} for {who} ({tiers}), {numbers['left_ppm'] / 10_000:.1f} % are left{times}"


def _when(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%a %d %b %H:%M}"
