from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastface.utils.errors import InvalidInput
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


def test_what_is_no_picture_is_refused(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(b"no picture")
    for name in ("picture.png", "missing.png"):
        with pytest.raises(InvalidInput, match="can't be read as a picture"):
            read_picture(tmp_path / name)
