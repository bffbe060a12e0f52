"""Text that every output takes."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest

from fastface.utils.errors import DownloadError, FileError, InvalidInput, ModelError
from fastface.utils.text import ReadableRecords, readable

#: A folder's name as Linux gives it when its bytes are no UTF-8.
NAME = os.fsdecode(b"pack-\xff\xe9")


def test_readable_text_stays_as_it_is() -> None:
    for text in ("", "plain", "Gesichter für 顔", "\U0001f600"):
        assert readable(text) == text


def test_what_no_encoding_has_becomes_an_escape() -> None:
    shown = readable(NAME)
    assert shown == r"pack-\udcff\udce9"
    shown.encode()
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("kind", [InvalidInput, ModelError, DownloadError, FileError])
def test_every_error_says_it_in_readable_text(kind: type[Exception]) -> None:
    error = kind(f"{NAME} is damaged")
    str(error).encode()
    assert str(error) == r"pack-\udcff\udce9 is damaged"
    assert error.args == (str(error),)


def test_a_log_takes_every_name_and_traceback() -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    logger = logging.Logger("a log of its own")
    logger.addHandler(logging.StreamHandler(written))
    logger.addFilter(ReadableRecords())
    logger.warning("%s is damaged", NAME)
    try:
        raise OSError(NAME)
    except OSError:
        logger.exception("not read: %d", 3)
    written.seek(0)
    lines = written.read()
    assert r"pack-\udcff\udce9 is damaged" in lines
    assert "not read: 3" in lines and r"OSError: pack-\udcff\udce9" in lines


def test_the_packs_own_log_is_such_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    assert any(
        type(each).__name__ == "ReadableRecords" for each in logging.getLogger("FastFace").filters
    )
