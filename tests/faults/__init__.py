"""One named test for each fault: how it is injected, what is expected; `python -m tests.faults.catalogue` lists them."""
