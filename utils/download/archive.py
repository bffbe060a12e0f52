"""Unpacks a downloaded zip: all of it or nothing, and never outside its folder."""

from __future__ import annotations

import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath

from ..errors import DownloadError, ModelError
from ..files import write_out_folder
from ..names import why_unusable_name
from ..unfinished import clear_leftovers, unfinished_folder
from .disk import (
    BLOCK_BYTES,
    append_blocks,
    disk_errors,
    file_sha256,
    megabytes,
    require_space,
)

WANTED_SUFFIXES = (".onnx", ".json", ".license", ".txt", ".md")
MAX_BYTES = 4 << 30
MAX_ENTRIES = 10_000
#: Weights hardly compress (1.2 times); a megabyte that grew out of less than 1/200 of it is a trap.
MAX_RATIO = 200
RATIO_MATTERS_BYTES = 1 << 20

#: How the folders were called in which earlier versions unpacked.
_EARLIER_SUFFIX = ".unpacking"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FILE_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: made on a system without file modes
#: Drive letters and NTFS streams, shell patterns, control characters.
_FORBIDDEN = re.compile(r'[:*?"<>|\x00-\x1f\x7f]')
#: All that zipfile raises on damaged files, found by damaging some.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)

Parts = tuple[str, ...]


def unpack_zip(
    archive: Path,
    target_folder: Path,
    *,
    wanted_suffixes: Sequence[str] = WANTED_SUFFIXES,
    max_bytes: int = MAX_BYTES,
    expected_sha256: Mapping[str, str | None] | None = None,
) -> Path:
    """Unpacks the wanted files of a zip into a folder, in one step.

    A folder that all wanted files share inside the zip is left out: `a/a/x.onnx` becomes `x.onnx`.
    If the target exists, only the files it lacks are added to it, each in one step.

    Args:
        archive: The zip.
        target_folder: Where the files go; its parent exists.
        wanted_suffixes: Lower-case suffixes of the files to unpack; others are left in the zip.
        max_bytes: Most that the wanted files may take, unpacked.
        expected_sha256: Name of each file that must be there, and its hash where known.

    Returns:
        `target_folder`.

    Raises:
        ModelError: The zip is missing, damaged, encrypted, dangerous, or not what was expected;
            nothing of it was unpacked.
        DownloadError: The disk is full or can't be written.
    """
    if not archive.is_file():
        raise ModelError(f"expected a zip at {archive}, but there is none; download it first")
    try:
        with ExitStack() as held:
            opened = held.enter_context(zipfile.ZipFile(archive))
            wanted = _wanted(_safe_files(opened.infolist()), wanted_suffixes, max_bytes)
            require_space(target_folder.parent, sum(info.file_size for _, info in wanted))
            with disk_errors(target_folder.parent):
                staging = held.enter_context(unfinished_folder(target_folder.parent))
            _extract(opened, wanted, staging)
            with disk_errors(target_folder.parent):
                _require_content(staging, expected_sha256 or {})
                _move(staging, target_folder)
    except DownloadError:
        raise
    except _DAMAGED as error:
        raise _refusal(archive, f"it is damaged or no zip at all ({error})") from error
    except _Refused as refused:
        raise _refusal(archive, str(refused)) from None
    return target_folder


def remove_leftovers(target_folder: Path) -> None:
    """Removes what a killed process left of unpacking beside a folder.

    Args:
        target_folder: As given to `unpack_zip`; nobody may be unpacking into it now.
    """
    clear_leftovers(target_folder.parent)
    for leftover in target_folder.parent.glob(f".{target_folder.name}.*{_EARLIER_SUFFIX}"):
        shutil.rmtree(leftover, ignore_errors=True)


class _Refused(Exception):
    """What is wrong with the archive, in the words of the error."""


def _refusal(archive: Path, reason: str) -> ModelError:
    return ModelError(
        f"{archive} was not unpacked: {reason}; replace it by the archive as its makers released it"
    )


def _safe_files(infos: Sequence[zipfile.ZipInfo]) -> list[tuple[Parts, zipfile.ZipInfo]]:
    """All files with their path parts; one bad entry, wanted or not, condemns the archive."""
    if len(infos) > MAX_ENTRIES:
        raise _Refused(f"it has {len(infos)} entries, more than {MAX_ENTRIES}")
    files: dict[Parts, tuple[Parts, zipfile.ZipInfo]] = {}
    for info in infos:
        name = info.orig_filename.replace("\\", "/")  # Windows would read it so
        parts = PurePosixPath(name).parts
        _require_safe_path(info.orig_filename, name, parts)
        if stat.S_IFMT(info.external_attr >> 16) not in _FILE_TYPES:
            raise _Refused(f"{name!r} is a link or device, not a file")
        if info.flag_bits & 1:
            raise _Refused(f"{name!r} is encrypted")
        if name.endswith("/"):
            continue
        # On Windows and macOS names that differ only so are one file.
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        if key in files:
            raise _Refused(f"{name!r} is in it twice")
        files[key] = (parts, info)
    for key, (parts, _) in files.items():
        if any(key[:depth] in files for depth in range(1, len(key))):
            raise _Refused(f"{'/'.join(parts)!r} lies in a folder that is also a file")
    return list(files.values())


def _require_safe_path(shown: str, name: str, parts: Parts) -> None:
    if not parts or name.startswith("/") or ".." in parts or _FORBIDDEN.search(name):
        raise _Refused(f"{shown!r} leads out of its folder or is no plain file name")
    if any(part != part.rstrip(". ") for part in parts):  # Windows drops these: another name
        raise _Refused(f"{shown!r} has a part that ends in a dot or space")
    for part in parts:
        if reason := why_unusable_name(part):
            raise _Refused(f"{shown!r} can't be a file everywhere: {reason}")


def _wanted(
    files: Iterable[tuple[Parts, zipfile.ZipInfo]], suffixes: Sequence[str], max_bytes: int
) -> list[tuple[Parts, zipfile.ZipInfo]]:
    """The files to unpack, without the folders that all of them share."""
    wanted = [
        (parts, info)
        for parts, info in files
        # macOS adds a shadow of each file, with the same suffix.
        if parts[-1].lower().endswith(tuple(suffixes)) and parts[0] != "__MACOSX"
    ]
    if not wanted:
        raise _Refused(f"none of its files ends in {', '.join(suffixes)}")
    total_bytes = sum(info.file_size for _, info in wanted)
    if total_bytes > max_bytes:
        raise _Refused(
            f"it would unpack to {megabytes(total_bytes)}, more than {megabytes(max_bytes)}"
        )
    for parts, info in wanted:
        if info.compress_type not in _METHODS:
            raise _Refused(f"{parts[-1]!r} is packed by the unknown method {info.compress_type}")
        grows_too_much = info.file_size > MAX_RATIO * info.compress_size
        if info.file_size > RATIO_MATTERS_BYTES and grows_too_much:
            raise _Refused(f"{parts[-1]!r} would grow more than {MAX_RATIO} times")
    while len({parts[0] for parts, _ in wanted}) == 1 and all(
        len(parts) > 1 for parts, _ in wanted
    ):
        wanted = [(parts[1:], info) for parts, info in wanted]
    return wanted


def _extract(
    opened: zipfile.ZipFile, wanted: Iterable[tuple[Parts, zipfile.ZipInfo]], staging: Path
) -> None:
    for parts, info in wanted:
        path = staging.joinpath(*parts)
        with disk_errors(staging.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        # zipfile reads at most the declared size and then compares the checksum.
        with opened.open(info) as source:
            append_blocks(path, iter(partial(source.read, BLOCK_BYTES), b""))


def _require_content(staging: Path, expected_sha256: Mapping[str, str | None]) -> None:
    found = {path.name: path for path in staging.rglob("*") if path.is_file()}
    for name, expected in expected_sha256.items():
        if name not in found:
            raise _Refused(f"{name!r} is not in it, only {', '.join(sorted(found))}")
        if expected and (got := file_sha256(found[name])) != expected.lower():
            raise _Refused(f"the sha256 of {name!r} is {got}, expected {expected}")


def move_into(target_folder: Path, files: Mapping[str, Path]) -> None:
    """Puts files into a folder in one step, or each in one where the folder is there already.

    Args:
        target_folder: Where they go; its parent exists, on the files' own disk.
        files: Name of each -> the file, which is gone afterwards.

    Raises:
        DownloadError: The disk can't be written.
    """
    with disk_errors(target_folder.parent), unfinished_folder(target_folder.parent) as staging:
        for name, path in files.items():
            path.replace(staging / name)
        _move(staging, target_folder)


def _move(staging: Path, target_folder: Path) -> None:
    """Puts files that are on the disk already where they belong, with their names."""
    if not target_folder.exists():
        for folder in (staging, *(path for path in staging.rglob("*") if path.is_dir())):
            write_out_folder(folder)
        staging.replace(target_folder)
        write_out_folder(target_folder.parent)
        return
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        final = target_folder / path.relative_to(staging)
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            path.replace(final)
            write_out_folder(final.parent)
