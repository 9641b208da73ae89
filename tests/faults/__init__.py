"""One named test for each fault: how it is injected, and what is expected then."""
