"""One JSON object of a pack's manifest, whose fields are checked as they are read.

Models of pydantic that refuse the same were tried: 75 lines more with the messages, and 14 ms for
making them before the first manifest is read, which takes 0.5 ms here (2 shared cores, pydantic
2.14).
"""

from __future__ import annotations

import math
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ModelError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT = reprlib.Repr()
_SHORT.maxstring = 200
_MISSING = object()


@dataclass(frozen=True)
class ManifestObject:
    """A JSON object; each method returns a valid field of it, or raises ModelError.

    Where a method takes a `default`, the field may be missing.

    Attributes:
        where: Names the object in messages: the file and the way to it.
        values: Its fields.
    """

    where: str
    values: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def require(self, condition: object, name: str, got: Any, expected: str) -> None:
        """Refuses the field unless a condition holds."""
        if not condition:
            found = "is missing" if got is _MISSING else f"is {_SHORT.repr(got)}"
            raise ModelError(
                f"{self.where}{name} {found}, expected {expected}; ask the maker of the pack for a "
                "corrected one"
            )

    def text(self, name: str, default: Any = _MISSING) -> str:
        """A text that is not empty, without blanks around it."""
        value = self.values.get(name, default)
        text = value.strip() if isinstance(value, str) else ""
        self.require(text, name, value, "a text that is not empty")
        return text

    def inner(self, name: str) -> ManifestObject:
        """An object inside this one."""
        value = self.values.get(name, _MISSING)
        self.require(isinstance(value, dict), name, value, "an object")
        return ManifestObject(f"{self.where}{name}.", value)

    def number(self, name: str, default: Any = _MISSING, *, positive: bool = False) -> float:
        """A finite number."""
        value = self.values.get(name, default)
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.inf
        valid = math.isfinite(number) and (number > 0 or not positive)
        self.require(valid, name, value, "a finite number" + " above 0" * positive)
        return number

    def count(self, name: str, default: Any = _MISSING) -> int:
        """A whole number above 0."""
        value = self.values.get(name, default)
        self.require(_is_count(value), name, value, "a whole number above 0")
        return value

    def square_side(self, name: str, default: Any = _MISSING) -> int:
        """The side of a square given as a list of width and height."""
        value = self.values.get(name, default)
        square = isinstance(value, list) and len(value) == 2 and value[0] == value[1]
        valid = square and all(map(_is_count, value))
        self.require(valid, name, value, "a list of two equal whole numbers above 0")
        return value[0]

    def sha256(self, name: str) -> str | None:
        """A hash, or None if there is none."""
        value = self.values.get(name, _MISSING)
        if value is _MISSING:
            return None
        valid = isinstance(value, str) and _SHA256.fullmatch(value)
        self.require(valid, name, value, "64 lower-case hexadecimal digits")
        return value

    def file(self, name: str, root: Path, suffix: str) -> Path:
        """A file named by a relative path that does not lead out of a folder, nor does a link.

        Args:
            name: The field.
            root: The folder, resolved.
            suffix: How the file's name must end, in lower case.
        """
        text = self.text(name)
        relative = PurePosixPath(text)
        leaves = relative.is_absolute() or ".." in relative.parts or any(c in text for c in "\\:\0")
        self.require(not leaves, name, text, "a path inside the pack, with / between folders")
        self.require(relative.suffix.lower() == suffix, name, text, f"a name that ends in {suffix}")
        try:
            path = (root / relative).resolve()
        except (OSError, ValueError, RuntimeError):  # no name for a file; links in a circle
            path = Path()
        self.require(path.is_relative_to(root), name, text, f"a path to a file inside {root}")
        return path


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
