"""Names of files that users give: the same on every system, or refused with the reason."""

from __future__ import annotations

import os

import pytest

from fastface.utils.errors import InvalidInput
from fastface.utils.names import require_file_name, why_unusable_name


@pytest.mark.parametrize(
    "name", ["anna", "anna.1", "Ånna (2)", "顔", "console", "com", "nul1", ".x"]
)
def test_plain_names_are_usable(name: str) -> None:
    assert why_unusable_name(name) is None
    assert require_file_name(f" {name} ", ".npy", "a face") == f"{name}.npy"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "no name"),
        (".", "no name"),
        ("..", "no name"),
        ("a/b", "'/'"),
        ("a\\b", r"'\\\\'"),
        ("C:x", "':'"),
        ("a\0b", r"'\\x00'"),
        ("a\nb", r"'\\n'"),
        ("what?", r"'\?'"),
        ("a.", "dot or space"),
        ("a. ", "dot or space"),
        ("CON", "device"),
        ("con.png", "device"),
        ("Nul .tar.gz", "device"),
        ("COM1", "device"),
        ("lpt9.safetensors", "device"),
        ("COM\u00b2", "device"),
        ("conout$", "device"),
        ("é" * 128, "256 bytes, at most 255"),
        (os.fsdecode(b"\xff"), "not Unicode"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    import re

    assert re.search(reason, why_unusable_name(name) or "")


@pytest.mark.parametrize("name", ["NUL", "a.", "", " ", "../a", "é" * 125])
def test_a_suffix_hides_nothing(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"got the name .* for a face model, but .* expected"):
        require_file_name(name, ".safetensors", "a face model")


def test_the_longest_possible_name_is_possible() -> None:
    assert len(require_file_name("a" * 251, ".npy", "a face")) == 255
    with pytest.raises(InvalidInput, match="256 bytes"):
        require_file_name("a" * 252, ".npy", "a face")
