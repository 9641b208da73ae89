"""A whole broker in virtual time: production code on a seeded loop, a faulty network, faulty clocks, crashes."""
