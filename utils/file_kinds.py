"""What a file is, by its first bytes: names of files say nothing that can be relied on."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePosixPath

#: So many first bytes tell.
SIGNATURE_BYTES = 400


class FileKind(str, Enum):
    """A format of pictures, films, or neither."""

    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"
    BMP = "bmp"
    TIFF = "tiff"
    WEBP = "webp"
    HEIC = "heic"
    AVIF = "avif"
    JPEG2000 = "jpeg2000"
    PSD = "psd"
    FILM = "film"
    JPEG_XL = "jpeg-xl"
    RAW = "raw"
    OTHER = "other"

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture in a format that may be read here."""
        return self not in (FileKind.FILM, FileKind.JPEG_XL, FileKind.RAW, FileKind.OTHER)


_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"\xff\xd8\xff", FileKind.JPEG),
    (b"\x89PNG\r\n\x1a\n", FileKind.PNG),
    (b"GIF87a", FileKind.GIF),
    (b"GIF89a", FileKind.GIF),
    (b"II*\0", FileKind.TIFF),
    (b"MM\0*", FileKind.TIFF),
    (b"II+\0", FileKind.TIFF),
    (b"MM\0+", FileKind.TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", FileKind.JPEG2000),
    (b"\xff\x4f\xff\x51", FileKind.JPEG2000),
    (b"8BPS\0", FileKind.PSD),
    (b"\xff\x0a", FileKind.JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", FileKind.JPEG_XL),
    (b"\x1aE\xdf\xa3", FileKind.FILM),  # Matroska, WebM
    (b"FLV\x01", FileKind.FILM),
    (b"\0\0\x01\xba", FileKind.FILM),  # MPEG program stream
    (b"\0\0\x01\xb3", FileKind.FILM),  # MPEG video
    (b"OggS", FileKind.FILM),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileKind.FILM),  # ASF, WMV
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
#: ISO base media files that hold no picture at all.
_SOUND_BRANDS = frozenset({b"M4A ", b"M4B "})
#: Raw photos are TIFF files whose first picture is a small preview.
_RAW_SUFFIXES = frozenset({".cr2", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".pef", ".orf"})
#: Names by which people expect a picture or a film.
_EXPECTED_SUFFIXES = _RAW_SUFFIXES | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".psd", ".jxl"),
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".ts", ".m2ts"),
    *(".wmv", ".asf", ".ogv", ".3gp", ".cr3", ".raf", ".rw2"),
}
#: Transport streams have a sync byte at the beginning of each packet.
_TS_SYNC, _TS_PACKET = 0x47, 188


def kind_of(start: bytes, name: str = "") -> FileKind:
    """The kind of a file.

    Args:
        start: Its first `SIGNATURE_BYTES` bytes, or all of a shorter one.
        name: Tells raw photos from other TIFF files.
    """
    for signature, kind in _STARTS:
        if start.startswith(signature):
            is_raw = kind is FileKind.TIFF and _suffix(name) in _RAW_SUFFIXES
            return FileKind.RAW if is_raw else kind
    if start[:2] == b"BM" and len(start) >= 26 and start[6:10] == bytes(4):
        return FileKind.BMP
    if start[:4] == b"RIFF":
        return {b"WEBP": FileKind.WEBP, b"AVI ": FileKind.FILM}.get(start[8:12], FileKind.OTHER)
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    if start[4:8] in (b"moov", b"mdat", b"wide"):  # QuickTime without brands
        return FileKind.FILM
    if len(start) > 2 * _TS_PACKET and start[0] == start[_TS_PACKET] == start[376] == _TS_SYNC:
        return FileKind.FILM
    return FileKind.OTHER


def _of_brands(start: bytes) -> FileKind:
    """The kind of an ISO base media file, by what it says it can be read as."""
    length = min(int.from_bytes(start[:4], "big"), len(start))
    major = start[8:12]
    brands = {major, *(start[at : at + 4] for at in range(16, length - 3, 4))}
    if major in _AVIF_BRANDS or (major in _HEIC_BRANDS and brands & _AVIF_BRANDS):
        return FileKind.AVIF
    if major in _HEIC_BRANDS:
        return FileKind.HEIC
    if major == b"crx ":
        return FileKind.RAW
    return FileKind.OTHER if major in _SOUND_BRANDS else FileKind.FILM


def promises_pixels(name: str) -> bool:
    """Whether people expect a picture or a film in a file of this name."""
    return _suffix(name) in _EXPECTED_SUFFIXES


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
