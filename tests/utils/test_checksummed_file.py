"""Checksummed files: whatever happens to one, it is told before its content is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastface.utils.checksummed_file import (
    DamagedFile,
    read_checksummed,
    read_header,
    write_checksummed,
)
from tests.utils.properties import steady

KEY = {"model": "a.onnx", "shapes": [[1, 3], [8, 3]]}
CONTENT = bytes(range(256)) * 8
#: What hypothesis asks of its own: a quick clock, and no file that examples could change.
_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.engine"
    write_checksummed(path, KEY, CONTENT)
    return path


def test_what_was_written_is_read(file: Path):
    assert read_checksummed(file, KEY) == CONTENT
    header = read_header(file)
    assert header["key"] == KEY and header["bytes"] == len(CONTENT)


def test_an_empty_content_is_a_content(tmp_path: Path):
    write_checksummed(tmp_path / "empty", KEY, b"")
    assert read_checksummed(tmp_path / "empty", KEY) == b""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[:10], "does not begin as the files written here do"),
        (lambda data: data[:60], "has a damaged header"),
        (lambda data: data[:-1], "has 2047 bytes, of 2048 written"),
        (lambda data: data + b"x", "has 2049 bytes, of 2048 written"),
        (lambda data: data[:-5] + b"\xff" + data[-4:], "its checksum differs"),
        (lambda data: data.replace(b"a.onnx", b"b.onnx"), "is something else: model 'b.onnx'"),
        (lambda data: data.replace(b'"bytes"', b'"bites"'), "has a damaged header"),
        (lambda data: b"\x7fELF" + data, "does not begin as the files written here do"),
    ],
)
def test_damage_is_told(file: Path, damage, said: str):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DamagedFile, match=said):
        read_checksummed(file, KEY)


@settings(steady(150), suppress_health_check=_CHECKS)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_told(file: Path, place: float, bit: int):
    whole = file.read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    file.write_bytes(data)
    try:
        with pytest.raises(DamagedFile):
            read_checksummed(file, KEY)
    finally:
        file.write_bytes(whole)


def test_one_that_is_not_there_is_told(tmp_path: Path):
    for read in (read_header, lambda path: read_checksummed(path, KEY)):
        with pytest.raises(DamagedFile, match="can't be read"):
            read(tmp_path / "none.engine")
