"""The fast answer to one claim, from the free calendar and the last plan's prices. Pure: no clock, no storage."""
