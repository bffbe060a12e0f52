"""Damage to bytes: what disks, interrupted copies and people with a hex editor do to files."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Where several kinds of numbers end.
_EDGES = (0, 1, 0x7F, 0x80, 0xFF)


def damaged(content: bytes, chance: random.Random, most: int = 4) -> bytes:
    """Content with one to `most` kinds of damage."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, most)):
        chance.choice(_DAMAGES)(changed, chance)
    return bytes(changed)


def _place(content: bytearray, chance: random.Random) -> int:
    """Anywhere, but often near the beginning, where headers are, or the end."""
    if not content:
        return 0
    reach = len(content) if chance.random() < 0.5 else min(len(content), 512)
    place = chance.randrange(reach)
    return place if chance.random() < 0.7 else len(content) - 1 - place


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 8, 64)) if content else 0):
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _set(content: bytearray, chance: random.Random) -> None:
    if content:
        content[_place(content, chance)] = chance.choice(_EDGES)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    del content[place : place + chance.choice((1, 2, 16, 4096))]


def _insert(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    content[place:place] = chance.randbytes(chance.choice((1, 2, 16, 256)))


def _repeat(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    content[place:place] = content[place : place + chance.choice((1, 16, 1024))]


def _blank(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    length = min(chance.choice((1, 16, 4096)), len(content) - place)
    content[place : place + length] = chance.choice((b"\0", b"\xff")) * length


def _swap(content: bytearray, chance: random.Random) -> None:
    length = chance.choice((4, 64, 1024))
    one, other = _place(content, chance), _place(content, chance)
    if max(one, other) + length <= len(content) and abs(one - other) >= length:
        first, second = content[one : one + length], content[other : other + length]
        content[one : one + length], content[other : other + length] = second, first


def _varint(content: bytearray, chance: random.Random) -> None:
    """A number of protobuf's that is far too large, or never ends."""
    place = _place(content, chance)
    content[place : place + 1] = b"\xff" * chance.choice((4, 9, 12)) + b"\x7f"


_DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _flip, _set, _cut, _remove, _insert, _repeat, _blank, _swap, _varint,
)  # fmt: skip
