"""Steps through a protobuf message field by field, reading only what is asked for.

Source: the wire format as documented at https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

#: No face network comes near; a damaged or hostile file must not keep a thread busy.
MAX_FIELDS = 200_000
MAX_TEXT_BYTES = 4096
_MAX_VARINT_BITS = 70

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class Malformed(Exception):
    """The bytes are no protobuf message; the text is the end of a sentence about the file."""


class Message:
    """A protobuf message and the messages inside it.

    A place in the message is a `range` of byte positions. Payloads are stepped over unread, so that
    a walk touches a few bytes a field, however large the fields are.

    Args:
        data: The bytes.
        max_fields: Most fields that all walks together may step over.
    """

    def __init__(self, data: bytes | mmap, max_fields: int = MAX_FIELDS) -> None:
        self._data = data
        self._max_fields = max_fields
        self._fields_left = max_fields

    def fields(self, place: range) -> Iterator[tuple[int, int | range]]:
        """Walks one message.

        Args:
            place: Where the message lies.

        Yields:
            Number of each field, and its value if it is a whole number (unsigned, 64 bit) or its
            place if it is text, bytes or a message. Fields of fixed width are left out.

        Raises:
            Malformed: The bytes there are no message, or the walk takes too many steps.
        """
        at, end = place.start, place.stop
        while at < end:
            self._step()
            start = at
            key, at = self._varint(at, end)
            number, wire_type = key >> 3, key & 7
            if number == 0:
                raise Malformed(f"the bytes at {start:,} are no entry")
            if wire_type == _VARINT:
                value, at = self._varint(at, end)
                yield number, value
            elif wire_type == _BYTES:
                length, at = self._varint(at, end)
                self._require(length, at, end)
                yield number, range(at, at + length)
                at += length
            elif wire_type in _FIXED_BYTES:
                self._require(_FIXED_BYTES[wire_type], at, end)
                at += _FIXED_BYTES[wire_type]
            else:
                raise Malformed(f"the bytes at {start:,} are no entry")

    def places(self, place: range, number: int) -> Iterator[range]:
        """Where the texts, bytes or messages of one field of a message lie."""
        for found, payload in self.fields(place):
            if found == number and isinstance(payload, range):
                yield payload

    def numbers(self, payload: int | range) -> list[int]:
        """The whole numbers of a repeated field, unsigned: one by itself, or many packed together.

        Raises:
            Malformed: They break off, or there are more than a message may have fields.
        """
        if isinstance(payload, int):
            return [payload]
        found, at = [], payload.start
        while at < payload.stop:
            self._step()
            number, at = self._varint(at, payload.stop)
            found.append(number)
        return found

    def text(self, place: range) -> str:
        """The text at a place, unreadable characters replaced.

        Raises:
            Malformed: It is too long for a name.
        """
        if len(place) > MAX_TEXT_BYTES:
            raise Malformed(f"a name at byte {place.start:,} is {len(place):,} bytes long")
        return self._data[place.start : place.stop].decode("utf-8", errors="replace")

    def _step(self) -> None:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise Malformed(f"it has more than {self._max_fields:,} entries")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, _MAX_VARINT_BITS, 7):
            if at >= end:
                raise Malformed(f"it breaks off at byte {at:,}")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise Malformed(f"the number before byte {at:,} never ends")

    @staticmethod
    def _require(length: int, at: int, end: int) -> None:
        if length > end - at:
            raise Malformed(
                f"the entry at byte {at:,} needs {length:,} bytes, but only {end - at:,} are left"
            )
