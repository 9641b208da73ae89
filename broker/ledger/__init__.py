"""The only code that changes capacity: one port, two backends, each change one atomic step."""
