"""The facts behind a reason, as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from broker.cli.show import dollars, short

__all__ = ["in_words"]

SPOKEN = {"pool", "start_unix_seconds", "needed_devices", "free_devices", "value_microusd", "price_microusd"}
SPOKEN |= {"by_tier", "by", "end_unix_seconds", "left_ppm", "times", "times_most"}


def in_words(facts: Mapping[str, str]) -> str:
    """``needs 4,608 devices, 2,380 free at best; worth $9.29m against a price of $9.33m; at … in contract-1``.

    Facts that only newer brokers send come last, as they are.
    """
    numbers = {key: int(value) for key, value in facts.items() if value.removeprefix("-").isdecimal()}
    said = [_room(numbers), _money(numbers), _place(facts, numbers), _giving_way(facts, numbers)]
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
    moment = f"at {datetime.fromtimestamp(start, UTC):%a %d %b %H:%M}" if start > 0 else ""
    pool = f"in {short(facts['pool'])}" if facts.get("pool") else ""
    return " ".join(filter(None, (moment, pool)))


def _giving_way(facts: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    if "left_ppm" not in numbers:
        return ""
    end = datetime.fromtimestamp(numbers.get("end_unix_seconds", 0), UTC)
    who = ", ".join(short(name) for name in facts["by"].split(",")) if facts.get("by") else "others"
    tiers = facts.get("by_tier", "").lower().replace(",", " and ")
    times = f", time {numbers.get('times', 1)} of {numbers.get('times_most', 1)}"
    return f"ends {end:%a %d %b %H:%M} for {who} ({tiers}), {numbers['left_ppm'] / 10_000:.1f} % are left{times}"
