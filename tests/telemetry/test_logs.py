"""What is logged: one record a line whatever callers send, and no secret in it."""

from __future__ import annotations

import logging

import orjson
import pytest

from broker.telemetry.logs import _Json, _Text, scrubbed

TOKEN = "4711." + "0123456789abcdef" * 2
NASTY = 'a\nERROR forged\r\x1b[2K\x00"}\u2028\u202e'


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("broker.test", logging.ERROR, __file__, 1, message, args, exc_info)


def failed(text: str) -> BaseException:
    try:
        raise ValueError(text)  # noqa: TRY301
    except ValueError as error:
        return error


def test_a_json_record_is_one_line_with_all_that_was_said() -> None:
    line = _Json("server-1").format(record("refused %s", NASTY, error=failed(NASTY)))
    assert line.isprintable() or "\n" not in line
    assert not set("\n\r\x1b\x00") & set(line)
    told = orjson.loads(line)
    assert told["message"] == f"refused {NASTY}"
    assert (told["level"], told["process"], told["logger"]) == ("ERROR", "server-1", "broker.test")
    assert "ValueError" in told["exception"]


def test_no_line_of_a_text_record_but_its_first_looks_like_a_record() -> None:
    first, *others = _Text("server-1").format(record("refused %s", NASTY, error=failed(NASTY))).split("\n")
    assert "ERROR refused a" in first
    assert all(line.startswith("  ") for line in others)
    assert not set("\r\x1b\x00\u2028\u202e") & set("".join([first, *others]))


@pytest.mark.parametrize("form", [_Json, _Text])
def test_tokens_and_passwords_are_taken_out_wherever_they_are(form: type[logging.Formatter]) -> None:
    store = "redis://broker:hunter2@10.0.0.1:6379"
    text = form("server-1").format(record("%s at %s", TOKEN, store, error=failed(f"{TOKEN} {store}")))
    assert TOKEN not in text
    assert "hunter2" not in text
    assert "4711.[secret]" in text


def test_what_is_no_secret_stays() -> None:
    digest = "f" * 64
    assert scrubbed(f"head {digest} at 1.5 s, revision 4711.") == f"head {digest} at 1.5 s, revision 4711."
