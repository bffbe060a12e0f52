"""Text for people that every output can take, whatever bytes the names in it have."""

from __future__ import annotations

import logging
import unicodedata
from numbers import Number
from typing import Any

#: Categories of characters that begin lines, move the cursor, or turn the text around them.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})
#: Joins emoji into one.
_JOINER = "\u200d"
#: Of a value that an error message quotes.
_MOST_CHARACTERS = 80


def readable(text: str) -> str:
    r"""The text, with what no encoding has written as an escape: `\udcff`.

    Names of files that are not UTF-8 come from the system with lone surrogates in them, which
    break a log, a JSON parser and a web server alike.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    r"""Readable text in one line, whatever is in it: a line break is shown as `\n`.

    A name of a file may hold what makes two lines of a list's one, or moves a terminal's cursor.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNSEEN and character != _JOINER
        else character
        for character in readable(text)
    )


def quoted(value: Any) -> str:
    """A value for an error message: short ones themselves, others by their type."""
    if value is None or isinstance(value, (str, Number)):
        text = repr(value)
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
    return f"of type {type(value).__name__}"


class ReadableRecords(logging.Filter):
    """Makes messages and tracebacks of a logger `readable`; what is so already is left alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = readable(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            traceback = logging.Formatter().formatException(record.exc_info)
            shown = readable(traceback)
            if shown != traceback:
                record.exc_text = shown  # where formatters find it instead of making it
        return True
