"""The function library: all Lua files as one text, under names that carry a digest of it.

Replicas of different releases therefore call different functions, and may share a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

__all__ = ["Library", "library"]

_LUA = Path(__file__).parent / "lua"
_SHARED = ("market", "replay", "books", "leases", "claims")  # in this order, before every verb

_REGISTER = """\
local known -- the last key of each call: '<prefix>seen:<incarnation>:<revision>', what the caller knows of the market
local function register(name, body, flags)
  redis.register_function({{ function_name = '{name}_' .. name, flags = flags, callback = function(keys, args)
    known = table.remove(keys)
    return body(keys, args)
  end }})
end
local function verb(name, body)
  register(name, body, {{}})
end
local function verb_reading(name, body)
  register(name, body, {{ 'no-writes' }})
end
local function verb_relieving(name, body) -- also while the store has no room: it frees some, or keeps what is in use
  register(name, body, {{ 'allow-oom' }})
end
"""


@dataclass(frozen=True, slots=True)
class Library:
    """``code`` is what FUNCTION LOAD takes."""

    name: str
    code: str

    def function(self, verb: str) -> str:
        """Name of the function of ``verb``, which is the name of its Lua file."""
        return f"{self.name}_{verb}"


@cache
def library() -> Library:
    """The library of this release."""
    verbs = sorted(path.stem for path in _LUA.glob("*.lua") if path.stem not in _SHARED)
    # Each verb is a block of its own: a Lua function may have 200 local names, not more.
    shared = [(_LUA / f"{name}.lua").read_text("utf-8") for name in _SHARED]
    body = "\n".join([*shared, *(f"do\n{(_LUA / f'{name}.lua').read_text('utf-8')}end" for name in verbs)])
    name = f"cb_{sha256((_REGISTER + body).encode()).hexdigest()[:12]}"
    return Library(name, f"#!lua name={name}\n{_REGISTER.format(name=name)}\n{body}\n")
