"""One named test for each fault, with how it is injected and what is expected; `tests.faults.catalogue` lists them."""
