"""Immutable values of the market: standard library only, no clock, no I/O, no floats for quantities."""
