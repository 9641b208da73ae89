"""The page tells of every fault test, and of no other."""

from tests.faults.catalogue import PAGE, written


def test_the_table_is_the_one_that_the_tests_make() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "python -m tests.faults.catalogue writes it anew"
