"""JPEGs by OpenCV: the very pixels, notes and refusals of Pillow."""

from __future__ import annotations

import io
import random
import tempfile
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from fastface.utils import decoding, jpeg
from fastface.utils.decoding import open_picture
from fastface.utils.errors import InvalidInput
from fastface.utils.file_kinds import FileKind
from tests.pipeline.album.odd_files import encoded

Outcome = tuple[str, np.ndarray | None, tuple[str, ...]]


def photo(width: int = 187, height: int = 141) -> Image.Image:
    """Smooth and rough parts, in colours."""
    rng = np.random.default_rng(width)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 9), np.cos(columns / 7), np.sin((rows + columns) / 13)]
    pixels = np.stack(waves, -1) * 100 + 128 + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def outcome(content: bytes, enough_side: int | None = None) -> Outcome:
    """Of a file on disk; one in memory has to give the same."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        on_disk = outcome_of(file, enough_side)
    assert_same(on_disk, outcome_of(io.BytesIO(content), enough_side))
    return on_disk


def outcome_of(file: BinaryIO, enough_side: int | None) -> Outcome:
    file.seek(0)
    try:
        opened = open_picture(file, FileKind.JPEG, 10**8, enough_side)
        pixels, notes = opened.decode()
    except InvalidInput as error:
        return str(error), None, ()
    return "", pixels, notes


def by_pillow(content: bytes, monkeypatch: pytest.MonkeyPatch, side: int | None = None) -> Outcome:
    with monkeypatch.context() as without:
        without.setattr(decoding, "decode_jpeg", lambda *_: None)
        return outcome(content, side)


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one[0] == other[0] and one[2] == other[2]
    assert (one[1] is None) == (other[1] is None)
    if one[1] is not None and other[1] is not None:
        assert one[1].flags.c_contiguous and one[1].dtype == np.uint8
        np.testing.assert_array_equal(one[1], other[1])


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether OpenCV decoded each of the JPEGs."""
    answers: list[bool] = []
    really = jpeg.decode_jpeg

    def noted(*given: object) -> np.ndarray | None:
        pixels = really(*given)  # pyright: ignore[reportArgumentType]
        answers.append(pixels is not None)
        return pixels

    monkeypatch.setattr(decoding, "decode_jpeg", noted)
    return answers


@pytest.mark.parametrize("side", [None, 90, 45, 20], ids=["whole", "half", "quarter", "eighth"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 92, "subsampling": 0},
        {"quality": 85, "subsampling": 1},
        {"quality": 60, "subsampling": 2},
        {"quality": 85, "optimize": True, "restart_marker_rows": 1},
        {"quality": 90, "keep_rgb": True},
        {"mode": "L", "quality": 85},
    ],
    ids=["444", "422", "420", "restarts", "rgb", "grey"],
)
def test_pixels_are_pillows(
    options: dict, side: int | None, taken: list[bool], monkeypatch: pytest.MonkeyPatch
):
    picture = photo().convert(options.pop("mode", "RGB"))
    content = encoded(picture, "JPEG", **options)
    found = outcome(content, side)
    assert taken == [True, True] and found[1] is not None
    assert bool(found[2]) == (side is not None)
    assert_same(found, by_pillow(content, monkeypatch, side))


@pytest.mark.parametrize("turn", range(10))
def test_turns_are_pillows(turn: int, taken: list[bool], monkeypatch: pytest.MonkeyPatch):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(photo(), "JPEG", exif=exif)
    found = outcome(content)
    assert taken == [True, True]
    assert_same(found, by_pillow(content, monkeypatch))


@pytest.mark.parametrize("kind", ["other", "srgb", "damaged", "grey"])
def test_colours_are_pillows(kind: str, taken: list[bool], monkeypatch: pytest.MonkeyPatch):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if kind != "srgb":
        at = profile.find("s\0R\0G\0B".encode("latin-1"))
        profile[at : at + 7] = "o\0t\0h\0r".encode("latin-1")
        tags = {
            bytes(profile[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(profile[131])
        }
        red, green = (profile[tags[name] + 4 : tags[name] + 12] for name in (b"rXYZ", b"gXYZ"))
        profile[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12] = green
        profile[tags[b"gXYZ"] + 4 : tags[b"gXYZ"] + 12] = red
    if kind == "damaged":
        profile = profile[:100]
    # Of more rows than are converted at a time.
    picture = photo(80, 600).convert("L" if kind == "grey" else "RGB")
    content = encoded(picture, "JPEG", icc_profile=bytes(profile))
    found = outcome(content)
    assert taken == [True, True]
    assert_same(found, by_pillow(content, monkeypatch))


def test_what_is_cut_off_or_goes_on_is_pillows(taken: list[bool], monkeypatch: pytest.MonkeyPatch):
    content = encoded(photo(), "JPEG", quality=90)
    tables = content.find(b"\xff\xc4")
    others = [content[:-2], content[: len(content) // 2], content[:300], content + b"more"]
    # Without its Huffman tables, for which OpenCV has some of its own.
    others.append(content.replace(b"\xff\xc4", b"\xff\xfe"))
    # With a marker among the pixels that libjpeg does not know.
    others.append(content[:-900] + b"\xff\x27" + content[-898:])
    others.append(content[:tables] + b"\xff" + content[tables:])
    others += [content[:place] for place in (0, 2, 4, 5, 20)]
    for other in others:
        assert_same(outcome(other), by_pillow(other, monkeypatch))
    assert not any(taken)
    assert outcome(content[: len(content) // 2])[0].startswith("it is damaged")


@pytest.mark.parametrize("side", [None, 45])
def test_other_forms_are_left_to_pillow(
    side: int | None, taken: list[bool], monkeypatch: pytest.MonkeyPatch
):
    others = (
        encoded(photo().convert("CMYK"), "JPEG"),
        encoded(photo(), "JPEG", progressive=True),
    )
    for content in others:
        found = outcome(content, side)
        assert found[1] is not None
        assert_same(found, by_pillow(content, monkeypatch, side))
    assert taken == [False, False] * len(others)


def test_changed_bytes_give_what_pillow_gives(monkeypatch: pytest.MonkeyPatch):
    rng = random.Random(0)
    for number in range(400):
        whole = encoded(photo(), "JPEG", quality=85, progressive=number % 2 == 0)
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(2, len(content) - 2)] = rng.randrange(256)
        if number % 3 == 0:  # cut off within, and yet ends as it should
            content = content[: rng.randrange(400, len(content))] + b"\xff\xd9"
        assert_same(outcome(bytes(content)), by_pillow(bytes(content), monkeypatch))


def test_without_opencv_pillow_decodes(taken: list[bool], monkeypatch: pytest.MonkeyPatch):
    content = encoded(photo(), "JPEG")
    monkeypatch.setattr(jpeg, "opencv_is_there", lambda: False)
    found = outcome(content)
    assert taken == [False, False]
    monkeypatch.undo()
    assert_same(found, outcome(content))


@pytest.mark.parametrize("side", [None, 45])
def test_older_versions_of_opencv_give_the_same(
    side: int | None, taken: list[bool], monkeypatch: pytest.MonkeyPatch
):
    content = encoded(photo(), "JPEG")
    monkeypatch.delattr(cv2, "IMREAD_COLOR_RGB", raising=False)
    found = outcome(content, side)
    assert taken == [True, True]
    assert_same(found, by_pillow(content, monkeypatch, side))
