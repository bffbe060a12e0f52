"""Zip archives of packs, as they come from downloads."""

from __future__ import annotations

import io
import random
import shutil
import stat
import struct
import zipfile

from fastface.utils.download.archive import remove_leftovers, unpack_zip
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged

_NAMES = (
    *["net.onnx", "b.onnx", "c.json", "a/d.onnx", "a/e.license"] * 6,
    "a/net.onnx", "a/a/net.onnx", "a/other.onnx", "read.me", "MODEL.LICENSE", "../x.onnx",
    "/x.onnx", "C:x.onnx", "a\\x.onnx", "..\\x.onnx", "NET.ONNX", "net.onnx/", "net.onnx/x.onnx",
    "",
    ".", "a/./x.onnx", "CON.onnx", "x .onnx ", "x.onnx.", "x\0.onnx", "é.onnx", "e\u0301.onnx",
    "__MACOSX/net.onnx", "a" * 300 + ".onnx", "/".join("abcdefgh" * 20) + "/x.onnx", "net.onnx:ads",
)  # fmt: skip


class Archives(Target):
    about = "damaged and hostile zip archives, unpacked"

    def run(self, chance: random.Random) -> None:
        area = self.folder / "area"
        shutil.rmtree(area, ignore_errors=True)
        area.mkdir()
        archive = self.folder / "pack.zip"
        archive.write_bytes(_archive(chance))
        target = area / "pack"
        if chance.random() < 0.3:
            target.mkdir()
            (target / "net.onnx").write_bytes(b"mine")
        expected = {"net.onnx": None} if chance.random() < 0.3 else {}
        before = {path.name for path in self.folder.iterdir()}
        try:
            unpack_zip(archive, target, expected_sha256=expected, max_bytes=1 << 22)
        finally:
            left = {path.name for path in area.iterdir()} - {"pack"}
            outside = {path.name for path in self.folder.iterdir()} - before
            if left or outside:
                raise Broken(f"left {sorted(left)}, wrote {sorted(outside)} outside")
        remove_leftovers(target)
        links = [path for path in target.rglob("*") if path.is_symlink()]
        if links:
            raise Broken(f"unpacked links: {links}")


def _archive(chance: random.Random) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for _ in range(chance.randint(0, 4)):
            info = zipfile.ZipInfo(chance.choice(_NAMES) or "x", (2020, 1, 1, 0, 0, 0))
            info.compress_type = chance.choice(
                [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 4
                + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
            )
            info.external_attr = (
                chance.choice((0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFLNK | 0o777, stat.S_IFCHR)) << 16
            )
            content = chance.choice((b"", b"weights" * 9, bytes(1 << 20), chance.randbytes(999)))
            archive.writestr(info, content)
    content = memory.getvalue()
    if chance.random() < 0.3:
        content = damaged(content, chance)
    if chance.random() < 0.2:
        content = _with_odd_fields(content, chance)
    return content


def _with_odd_fields(content: bytes, chance: random.Random) -> bytes:
    """Sizes, flags and methods in the directory that are not those of the files."""
    changed = bytearray(content)
    place = content.find(b"PK\x01\x02")
    if place >= 0 and place + 46 <= len(content):
        offset, form = chance.choice(
            ((6, "<H"), (8, "<H"), (10, "<H"), (16, "<L"), (20, "<L"), (24, "<L"), (28, "<H"),
             (34, "<H"), (38, "<L"), (42, "<L"))
        )  # fmt: skip
        most = (1 << 16 if form == "<H" else 1 << 32) - 1
        value = chance.choice((0, 1, 1 << 11, most, most - 1, chance.randint(0, most)))
        struct.pack_into(form, changed, place + offset, value)
    return bytes(changed)
