"""Pictures as a person sees them, and what their headers alone tell."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fastface.utils import decoding
from fastface.utils.decoding import open_picture
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.file_kinds import SIGNATURE_BYTES, FileKind, kind_of, promises_pixels
from fastface.utils.pictures import read_picture, square_thumbnail
from fastface.utils.text import one_line
from tests.pipeline.album.odd_files import encoded, png_header

PHOTO = Image.fromarray(
    np.stack(np.meshgrid(np.arange(96), np.arange(64), [3]), -1)[:, :, 0].astype(np.uint8) * 2
)
MOST = 1_000_000


def decoded(content: bytes, **options: int) -> tuple[np.ndarray, tuple[str, ...]]:
    kind = kind_of(content[:SIGNATURE_BYTES])
    return open_picture(io.BytesIO(content), kind, options.pop("most", MOST), **options).decode()


def test_colours_of_another_profile_are_those_of_srgb():
    # A profile whose red and green are changed places in sRGB's.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(profile[131])}
    red, green = (profile[tags[name] + 4 : tags[name] + 12] for name in (b"rXYZ", b"gXYZ"))
    profile[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12] = green
    profile[tags[b"gXYZ"] + 4 : tags[b"gXYZ"] + 12] = red
    at = profile.find("s\0R\0G\0B".encode("latin-1"))
    profile[at : at + 7] = "o\0t\0h\0r".encode("latin-1")
    picture = Image.new("RGB", (4, 4), (200, 40, 90))
    pixels, notes = decoded(encoded(picture, "PNG", icc_profile=bytes(profile)))
    assert np.abs(pixels.astype(int) - (40, 200, 90)).max() <= 2 and not notes
    plain, _ = decoded(encoded(picture, "PNG"))
    assert (plain == (200, 40, 90)).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_of_exif_is_undone(turn: int):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(PHOTO, "PNG", exif=exif)
    pixels, _ = decoded(content)
    expected = PHOTO.size[::-1] if turn < 5 else PHOTO.size
    assert pixels.shape[:2] == expected
    corners = {1: (0, 0), 2: (0, 95), 3: (63, 95), 4: (63, 0)}
    if turn < 5:
        assert (pixels[0, 0] == np.asarray(PHOTO)[corners[turn]]).all()


def test_large_jpegs_are_decoded_smaller_and_others_refused():
    large = PHOTO.resize((960, 640))
    opened = open_picture(io.BytesIO(encoded(large, "JPEG")), FileKind.JPEG, 200_000)
    assert opened.size_hw == (640, 960) and opened.reduction == 2
    assert opened.decoding_bytes == 8 * 480 * 320
    pixels, notes = opened.decode()
    assert pixels.shape == (320, 480, 3) and notes == ("decoded at 1/2 of its size",)
    with pytest.raises(InvalidInput, match="it has 960 x 640 pixels"):
        open_picture(io.BytesIO(encoded(large, "PNG")), FileKind.PNG, 200_000)
    # Sizes that 8 does not divide.
    odd = PHOTO.resize((961, 643))
    assert decoded(encoded(odd, "JPEG"), most=20_000)[0].shape == (81, 121, 3)


def test_pixels_that_are_packed_small_are_not_unpacked():
    content = png_header(30_000, 30_000, (bytes(30_001) for _ in range(10)))
    with pytest.raises(InvalidInput, match="too many pixels"):
        decoded(content)


def test_heic_needs_a_library_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    start = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    monkeypatch.setattr(decoding, "has_module", lambda name: name != "pillow_heif")
    with pytest.raises(BackendUnavailable, match="pip install pillow-heif"):
        decoded(start)
    (tmp_path / "photo.heic").write_bytes(start)
    with pytest.raises(InvalidInput, match="pip install pillow-heif"):
        read_picture(tmp_path / "photo.heic")


def test_heic_is_read(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    content = encoded(PHOTO.resize((192, 128)), "HEIF", quality=95)
    pixels, _ = decoded(content)
    assert pixels.shape == (128, 192, 3)
    (tmp_path / "photo.heic").write_bytes(content)
    assert np.array_equal(read_picture(tmp_path / "photo.heic"), pixels)


@pytest.mark.parametrize(
    ("start", "name", "kind"),
    [
        (b"", "x.jpg", FileKind.OTHER),
        (b"BM", "x.bmp", FileKind.OTHER),
        (b"BMW is a car, and this is a text", "x.txt", FileKind.OTHER),
        (b"II*\0" + bytes(40), "x.NEF", FileKind.RAW),
        (b"II*\0" + bytes(40), "x.tif", FileKind.TIFF),
        (b"RIFF\0\0\0\0WEBPVP8 ", "x", FileKind.WEBP),
        (b"RIFF\0\0\0\0AVI LIST", "x", FileKind.FILM),
        (b"RIFF\0\0\0\0WAVEfmt ", "x", FileKind.OTHER),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "x.heic", FileKind.AVIF),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "x", FileKind.AVIF),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "x.jpg", FileKind.HEIC),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  ", "x.jpg", FileKind.FILM),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A ", "x.m4a", FileKind.OTHER),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx ", "x.cr3", FileKind.RAW),
        ((b"\x47" + bytes(187)) * 3, "x", FileKind.FILM),
        (b"\x1aE\xdf\xa3", "x", FileKind.FILM),
    ],
)
def test_kinds_are_told_by_first_bytes(start: bytes, name: str, kind: FileKind):
    assert kind_of(start, name) is kind


def test_names_promise_what_people_expect():
    assert promises_pixels("a/b.JPG") and promises_pixels("x.mov") and promises_pixels("x.nef")
    assert not promises_pixels("notes.txt") and not promises_pixels("jpg")


def test_a_thumbnail_is_of_the_face_even_at_the_border():
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[40:, 70:] = (250, 10, 10)
    content = square_thumbnail(picture, (75, 45, 105, 75), 32)
    small = np.asarray(Image.open(io.BytesIO(content)))
    assert small.shape == (32, 32, 3)
    # The face reaches beyond the picture at right and below, where there is black.
    assert small[8, 8, 0] > 200 and small[-2, -2].max() < 60 and small[0, 0].max() < 60
    for box in ((-50, -50, -40, -40), (5, 5, 5, 5)):
        assert np.asarray(Image.open(io.BytesIO(square_thumbnail(picture, box, 16)))).max() < 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\x85", r"two\nlines\r\x85"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\udcff", r"\udcff"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("\U0001f469\u200d\U0001f680 \u00e9", "\U0001f469\u200d\U0001f680 \u00e9"),
    ],
)
def test_one_line_is_one_line(text: str, shown: str):
    assert one_line(text) == shown
