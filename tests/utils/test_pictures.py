from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastface.utils import decoding
from fastface.utils.errors import FileError, InvalidInput
from fastface.utils.pictures import read_picture, write_picture

#: Every 8-bit level, as a picture.
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREY = np.repeat(LEVELS[..., None], 3, axis=2)


def saved(folder: Path, name: str, levels: np.ndarray) -> Path:
    Image.fromarray(levels).save(folder / name)
    return folder / name


def test_what_is_written_is_read(tmp_path: Path):
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "new" / "picture.png", picture)
    assert np.array_equal(read_picture(tmp_path / "new" / "picture.png"), picture)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_grey_of_8_bits(tmp_path: Path, name: str):
    assert np.array_equal(read_picture(saved(tmp_path, name, LEVELS)), GREY)


@pytest.mark.parametrize(
    "levels",
    [LEVELS.astype(np.uint16) * 257, (LEVELS.astype(np.uint16) << 8) + 255],
    ids=["spread", "upper bits"],
)
@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_grey_of_16_bits_keeps_its_brightness(tmp_path: Path, name: str, levels: np.ndarray):
    file = saved(tmp_path, name, levels)
    with Image.open(file) as opened:
        assert opened.mode.startswith("I")
    assert np.array_equal(read_picture(file), GREY)


def test_grey_of_16_bits_is_what_opencv_reads(tmp_path: Path):
    cv2 = pytest.importorskip("cv2")
    levels = np.random.default_rng(1).integers(0, 65536, (9, 11), dtype=np.uint16)
    file = saved(tmp_path, "grey.png", levels)
    assert np.array_equal(read_picture(file), cv2.imread(str(file))[..., ::-1])


def test_floating_grey(tmp_path: Path):
    file = saved(tmp_path, "grey.tif", LEVELS.astype(np.float32) / 255)
    assert np.array_equal(read_picture(file), GREY)


@pytest.mark.parametrize(
    "levels",
    [
        np.full((4, 4), 70_000, np.int32),
        np.full((4, 4), -1, np.int32),
        np.full((4, 4), np.nan, np.float32),
        np.full((4, 4), 255, np.float32),
    ],
    ids=["32 bits", "negative", "NaN", "floating 0..255"],
)
def test_other_numbers_are_refused(tmp_path: Path, levels: np.ndarray):
    with pytest.raises(InvalidInput, match="grey levels that are neither"):
        read_picture(saved(tmp_path, "grey.tif", levels))


@pytest.mark.parametrize(
    "content",
    [
        b"P6\n4\x7f 5 255\n" + bytes(60),
        b"P6 90000 90000 255\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x00IHDR",
        b"GIF89a",
        # A TIFF whose rows begin at a fraction of a byte.
        bytes.fromhex(
            "49492a000800000009000001040001000000020000000101040001000000020000000201030001000000"
            "0800000003010300010000000100000006010300010000000100000011010c00010000007a0000001601"
            "0500010000000200000017010400010000000400000015010300010000000100000000000000"
        )
        + bytes(40),
    ],
)
def test_what_pillow_raises_for_damaged_files_is_a_refusal(tmp_path: Path, content: bytes):
    (tmp_path / "picture").write_bytes(content)
    with pytest.raises(InvalidInput, match="can't be read as a picture"):
        read_picture(tmp_path / "picture")


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300, "\udcff.png", "."])
def test_odd_paths_are_refused(tmp_path: Path, name: str):
    with pytest.raises(InvalidInput, match="can't be read as a picture"):
        read_picture(tmp_path / name)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    file = tmp_path / "picture.png"
    write_picture(file, GREY)
    before = file.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(FileError, match=r"is full: picture.png was not written"):
        write_picture(file, GREY)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["picture", "picture.docx", "picture.psd"])
def test_a_name_of_no_format_is_refused(tmp_path: Path, name: str):
    with pytest.raises(InvalidInput, match=r"expected one such as x\.png"):
        write_picture(tmp_path / name, GREY)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_picture_is_refused(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(b"no picture")
    for name in ("picture.png", "missing.png"):
        with pytest.raises(InvalidInput, match="can't be read as a picture"):
            read_picture(tmp_path / name)


def test_sixteen_bit_pictures_are_read_a_strip_at_a_time(tmp_path: Path, monkeypatch):
    rows: list[int] = []
    convert = decoding._from_wide_levels

    def noting(strip: Any) -> np.ndarray:
        rows.append(strip.size[1])
        return convert(strip)

    monkeypatch.setattr(decoding, "_from_wide_levels", noting)
    levels = np.arange(2 * decoding._STRIP_ROWS + 20, dtype=np.uint16)[:, None] * 7
    Image.fromarray(levels).save(tmp_path / "tall.tiff")
    pixels = read_picture(tmp_path / "tall.tiff")
    assert rows == [decoding._STRIP_ROWS, decoding._STRIP_ROWS, 20]
    assert np.array_equal(pixels, np.repeat(levels[..., None] >> 8, 3, axis=2))
