"""A folder with every kind of file that an album may hold: good ones in odd forms, and bad ones."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, features

#: Names that break a list, a terminal or a library that wants text.
ODD_NAMES = ("two\nlines.png", "\U0001f469\u200d\U0001f680.png", "\x1b[31mred.png", "<b>&\"'.png")
NOT_UNICODE = b"latin-\xe9.png"


def png_header(width: int, height: int, rows: Iterator[bytes]) -> bytes:
    """A grey PNG of 8 bits whose rows are given; packed a row at a time, however large it is."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def good_files(picture: Image.Image) -> dict[str, bytes]:
    """Pictures in which people see the same, in forms that readers get wrong.

    Args:
        picture: RGB.
    """
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees
    lying = picture.transpose(Image.Transpose.ROTATE_90)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = Image.new("RGB", picture.size)
    alpha = picture.convert("RGBA")
    grey16 = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    files = {
        "turned.jpg": encoded(lying, "JPEG", quality=95, exif=turned),
        "progressive.jpg": encoded(picture, "JPEG", quality=95, progressive=True),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG", quality=95),
        "profile.jpg": encoded(picture, "JPEG", quality=95, icc_profile=profile),
        "bad profile.png": encoded(picture, "PNG", icc_profile=b"no profile"),
        "jpeg in truth.png": encoded(picture, "JPEG", quality=95),
        "palette.png": encoded(picture.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "alpha.png": encoded(alpha, "PNG"),
        "grey 16 bits.png": encoded(Image.fromarray(grey16), "PNG"),
        "grey.tif": encoded(picture.convert("L"), "TIFF"),
        "pages.tif": encoded(picture, "TIFF", save_all=True, append_images=[other]),
        "animated.gif": encoded(picture, "GIF", save_all=True, append_images=[other]),
        "animated.webp": encoded(
            picture, "WEBP", save_all=True, append_images=[other], lossless=True
        ),
        "picture.bmp": encoded(picture, "BMP"),
        "no suffix": encoded(picture, "PNG"),
    }
    if features.check("avif"):
        files["picture.avif"] = encoded(picture, "AVIF", quality=95)
    if features.check("jpg_2000"):
        files["picture.jp2"] = encoded(picture, "JPEG2000")
    return files


def bad_files(picture: Image.Image, seed: int = 0) -> dict[str, tuple[bytes, str]]:
    """Files that can't be analysed, and what is said of each, as a pattern."""
    rng = random.Random(seed)
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    middle = len(png) // 2
    noise = rng.randbytes(64)
    return {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "header alone.jpg": (jpeg[:100], "damaged"),
        "cut.png": (png[:middle], "damaged"),
        "changed.png": (png[:middle] + noise + png[middle + 64 :], "damaged"),
        "noise.jpg": (noise * 20, "first bytes are of no picture"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "first bytes are of no picture"),
        "empty.jpg": (b"", "empty"),
        "bomb.png": (png_header(60_000, 60_000, iter([bytes(60_001)])), "pixels"),
        "large.png": (
            png_header(30_000, 30_000, (bytes(30_001) for _ in range(30_000))),
            "too many pixels|pixels, which would take",
        ),
        "film.mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + noise, "film can't be analysed"),
        "photo.jxl": (b"\xff\x0a" + noise, "JPEG XL"),
        "notes.txt": (b"what we did in Rome", "neither a picture nor a film"),
    }


def special_files(folder: Path) -> dict[str, str]:
    """Makes what is no plain file, and gives what is said of each, as a pattern."""
    made: dict[str, str] = {}

    def make(name: str, says: str, maker: Callable[[Path], object]) -> None:
        try:
            maker(folder / name)
        except OSError:  # not every system and user may
            return
        made[name] = says

    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))

    make("pipe.jpg", "FIFO", os.mkfifo)
    make("socket.jpg", "socket", listening)
    make("device.jpg", "device", lambda path: os.mknod(path, 0o20600, os.makedev(1, 5)))
    make("loop", "a link", lambda path: path.symlink_to(folder, target_is_directory=True))
    make("itself.jpg", "a link", lambda path: path.symlink_to(path.name))
    make("nowhere.jpg", "a link", lambda path: path.symlink_to("missing"))
    return made
