"""`unpack_zip` on whole, odd, damaged and evil archives."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastface.utils.download import archive
from fastface.utils.download.archive import remove_leftovers, unpack_zip
from fastface.utils.errors import DownloadError, ModelError

DETECTOR = bytes(range(256)) * 40
EVIL = b"evil"


def make_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")  # of names that are in it twice
        for name, content in entries:
            made.writestr(name, content)
    return path


def special_entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def patch_central_directory(path: Path, offset: int, value: int) -> None:
    """Overwrites a 16-bit field of the first entry, where archives are read from."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(content)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_refused(archive_path: Path, reason: str, **options) -> None:
    """Refused, with nothing changed in the whole folder around the archive."""
    around = archive_path.parent.parent
    before = sorted(around.rglob("*"))
    with pytest.raises(ModelError, match=reason) as raised:
        unpack_zip(archive_path, archive_path.parent / "pack", **options)
    assert str(archive_path) in str(raised.value)
    assert sorted(around.rglob("*")) == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "pack.zip"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["det.onnx"], ["det.onnx"]),
        (["pack/det.onnx", "pack/"], ["det.onnx"]),
        (["pack/pack/det.onnx", "pack/pack/LICENSE.txt"], ["LICENSE.txt", "det.onnx"]),
        (["pack\\det.onnx"], ["det.onnx"]),
        (["pack/det.onnx", "pack/more/rec.ONNX"], ["det.onnx", "more/rec.ONNX"]),
        (["a/det.onnx", "b/rec.onnx"], ["a/det.onnx", "b/rec.onnx"]),
        (["pack/det.onnx", "__MACOSX/pack/._det.onnx", "run.exe", ".git"], ["det.onnx"]),
        (["./det.onnx"], ["det.onnx"]),
    ],
)
def test_wanted_files_are_unpacked_without_their_common_folder(
    path: Path, names: list[str], expected: list[str]
) -> None:
    make_zip(path, *((name, b"" if name.endswith("/") else DETECTOR) for name in names))
    folder = unpack_zip(path, path.parent / "pack")
    assert folder == path.parent / "pack"
    assert files_in(folder) == dict.fromkeys(expected, DETECTOR)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["pack", "pack.zip"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.onnx",
        "pack/../../evil.onnx",
        "..\\evil.onnx",
        "/evil.onnx",
        "\\evil.onnx",
        "//server/share/evil.onnx",
        "C:\\evil.onnx",
        "c:evil.onnx",
        "det.onnx:stream",
        "../evil.exe",
        "evil\n.onnx",
        "evil?.onnx",
    ],
)
def test_dangerous_name_condemns_the_whole_archive(path: Path, name: str) -> None:
    make_zip(path, ("det.onnx", DETECTOR), (name, EVIL))
    assert_refused(path, "leads out of its folder")


@pytest.mark.parametrize("name", ["evil.onnx.", "pack /evil.onnx"])
def test_name_that_windows_would_change_is_refused(path: Path, name: str) -> None:
    make_zip(path, ("det.onnx", DETECTOR), (name, EVIL))
    assert_refused(path, "ends in a dot or space")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "none of its files ends in"),
        ([("run.exe", EVIL)], "none of its files ends in"),
        ([(special_entry("det.onnx", stat.S_IFLNK | 0o777), b"/etc/passwd")], "is a link"),
        ([(special_entry("det.onnx", stat.S_IFIFO | 0o644), b"")], "is a link or device"),
        ([("det.onnx", DETECTOR), ("det.onnx", EVIL)], "twice"),
        ([("det.onnx", DETECTOR), ("DET.onnx", EVIL)], "twice"),
        ([("./det.onnx", DETECTOR), ("det.onnx", EVIL)], "twice"),
        ([("caf\u00e9.onnx", DETECTOR), ("cafe\u0301.onnx", EVIL)], "twice"),
        ([("det.onnx", DETECTOR), ("det.onnx/rec.onnx", EVIL)], "also a file"),
        ([("det.onnx", bytes(archive.RATIO_MATTERS_BYTES + 1))], "grow more than"),
        ([(f"{number}.onnx", b"") for number in range(21)], "21 entries, more than 20"),
    ],
)
def test_evil_archive_is_refused(
    path: Path, entries: list, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 20)
    assert_refused(make_zip(path, *entries), reason)


def test_archive_that_would_grow_too_large_is_refused(path: Path) -> None:
    make_zip(path, ("det.onnx", DETECTOR), ("rec.onnx", DETECTOR))
    assert_refused(path, "more than", max_bytes=2 * len(DETECTOR) - 1)
    unpack_zip(path, path.parent / "pack", max_bytes=2 * len(DETECTOR))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(8, 1, "encrypted"), (10, 12, "unknown method 12"), (10, 99, "unknown method 99")],
)
def test_unreadable_entry_is_refused(path: Path, offset: int, value: int, reason: str) -> None:
    make_zip(path, ("det.onnx", DETECTOR))
    patch_central_directory(path, offset, value)
    assert_refused(path, reason)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_truncated_archive_is_refused(path: Path, kept: float) -> None:
    make_zip(path, ("det.onnx", random.Random(0).randbytes(50_000)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert_refused(path, "damaged")


def test_page_instead_of_an_archive_is_refused(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>Log in to the network</title>")
    assert_refused(path, "no zip at all")


def test_missing_archive_is_told(path: Path) -> None:
    assert_refused(path, "there is none")


def test_flipped_bytes_are_refused_or_harmless(path: Path) -> None:
    """Whatever is damaged: one of our errors, or the right content; never a half pack."""
    make_zip(path, ("pack/det.onnx", DETECTOR), ("pack/rec.onnx", DETECTOR[::-1]))
    content = path.read_bytes()
    chance = random.Random(2)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        folder = path.parent / "pack"
        try:
            unpack_zip(path, folder)
        except (ModelError, DownloadError):
            refused += 1
            assert not folder.exists()
        else:
            assert set(files_in(folder).values()) <= {DETECTOR, DETECTOR[::-1]}
            shutil.rmtree(folder)
    assert refused > 100


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({}, None),
        ({"det.onnx": None}, None),
        ({"det.onnx": hashlib.sha256(DETECTOR).hexdigest().upper()}, None),
        ({"det.onnx": "0" * 64}, "sha256 of 'det.onnx' is .* expected 0000"),
        ({"rec.onnx": None}, "'rec.onnx' is not in it, only det.onnx"),
    ],
)
def test_content_is_compared_before_it_is_put_in_place(
    path: Path, expected: dict[str, str | None], reason: str | None
) -> None:
    make_zip(path, ("pack/det.onnx", DETECTOR))
    if reason:
        assert_refused(path, reason, expected_sha256=expected)
    else:
        folder = unpack_zip(path, path.parent / "pack", expected_sha256=expected)
        assert files_in(folder) == {"det.onnx": DETECTOR}


def test_existing_folder_gets_only_what_it_lacks(path: Path) -> None:
    folder = path.parent / "pack"
    folder.mkdir()
    (folder / "det.onnx").write_bytes(b"the user's own")
    make_zip(path, ("det.onnx", DETECTOR), ("more/rec.onnx", DETECTOR))
    unpack_zip(path, folder)
    assert files_in(folder) == {"det.onnx": b"the user's own", "more/rec.onnx": DETECTOR}


def test_full_disk_is_told_before_and_during(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_zip(path, ("det.onnx", DETECTOR), ("rec.onnx", DETECTOR))

    def no_space(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name, fake in (
        ("shutil.disk_usage", lambda path: SimpleNamespace(free=2 * len(DETECTOR) - 1)),
        ("os.fsync", no_space),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, fake)
            with pytest.raises(DownloadError, match=r"free (some space|0\.0 MB more)") as raised:
                unpack_zip(path, path.parent / "pack")
        assert str(path.parent) in str(raised.value)
        assert sorted(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_unpacked_files_are_as_readable_as_others(path: Path) -> None:
    make_zip(path, ("det.onnx", DETECTOR))
    folder = unpack_zip(path, path.parent / "pack")
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode)


def test_leftovers_of_a_killed_process_are_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zip(path, ("det.onnx", DETECTOR))
    folder = path.parent / "pack"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *args, **options: None)  # it was killed before that
        with pytest.raises(ModelError):
            unpack_zip(path, folder, expected_sha256={"rec.onnx": None})
    assert len(list(path.parent.iterdir())) == 2
    other = path.parent / ".package.1.unpacking"
    other.mkdir()
    remove_leftovers(folder)
    assert sorted(path.parent.iterdir()) == sorted([path, other])
