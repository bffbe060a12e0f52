"""`download_pack`: from the choice of a known pack to its folder."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastface.utils.download.fetch import download_pack
from fastface.utils.errors import DownloadError, ModelError

DETECTOR = bytes(range(256)) * 400


@dataclass(frozen=True)
class Known:
    url: str
    name: str = "tiny"
    sha256: str | None = None
    licence: str = "non-commercial research only"
    size_mb: float | None = 343.9
    files: Mapping[str, str | None] = field(
        default_factory=lambda: {"det.onnx": hashlib.sha256(DETECTOR).hexdigest()}
    )
    urls: Mapping[str, str] = field(default_factory=dict)


def zipped(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny/tiny/{name}.onnx", content)
    return made.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models" / "insightface" / "models"


@pytest.mark.parametrize("hashes", ["none", "files", "zip"])
def test_pack_arrives_whole_and_the_zip_goes(
    names_in, file_server, root: Path, hashes: str
) -> None:
    file_server.content = zipped(det=DETECTOR)
    known = Known(file_server.url)
    if hashes == "none":
        known = replace(known, files={})
    if hashes == "zip":
        known = replace(known, sha256=hashlib.sha256(file_server.content).hexdigest())
    (root / ".tiny.0.unpacking").mkdir(parents=True)  # left by a killed process
    seen = []
    folder = download_pack(known, root, lambda done, total: seen.append((done, total)))
    assert folder == root / "tiny"
    assert names_in(root) == ["tiny"] and names_in(folder) == ["det.onnx"]
    assert (folder / "det.onnx").read_bytes() == DETECTOR
    assert seen[-1] == (len(file_server.content), len(file_server.content))


def test_licence_is_shown_before_the_first_byte(
    file_server, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file_server.content = zipped(det=DETECTOR)
    notices = []

    def notify(text: str) -> None:
        assert file_server.ranges == []
        notices.append(text)

    known = Known(file_server.url)
    with caplog.at_level(logging.INFO, "FastFace"):
        download_pack(known, root, notify=notify)
    for part in (known.licence, known.url, str(root / "tiny"), "344 MB"):
        assert part in notices[0] and part in caplog.text
    assert len(notices) == 1


def test_pack_that_is_there_is_not_downloaded_again(file_server, root: Path) -> None:
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "det.onnx").write_bytes(DETECTOR)
    assert download_pack(Known(file_server.url), root) == root / "tiny"
    assert file_server.ranges == []


def test_missing_file_of_a_pack_is_added(file_server, root: Path) -> None:
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "rec.onnx").write_bytes(b"the user's own")
    file_server.content = zipped(det=DETECTOR, rec=b"released")
    download_pack(Known(file_server.url), root)
    assert (root / "tiny" / "det.onnx").read_bytes() == DETECTOR
    assert (root / "tiny" / "rec.onnx").read_bytes() == b"the user's own"


def test_foreign_file_in_the_folder_is_named_and_kept(file_server, root: Path) -> None:
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "det.onnx").write_bytes(b"the user's own")
    with pytest.raises(ModelError, match="move it away or delete it") as raised:
        download_pack(Known(file_server.url), root)
    assert str(root / "tiny" / "det.onnx") in str(raised.value)
    assert (root / "tiny" / "det.onnx").read_bytes() == b"the user's own"
    assert file_server.ranges == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"<html>", "no zip at all"), (zipped(det=b"x"), "sha256"), (zipped(rec=b"x"), "not in it")],
    ids=["login page", "wrong file", "other pack"],
)
@pytest.mark.parametrize("by_hand", [False, True], ids=["downloaded", "put by hand"])
def test_wrong_zip_leaves_no_pack_and_goes_unless_the_user_put_it_there(
    names_in, file_server, root: Path, content: bytes, reason: str, by_hand: bool
) -> None:
    file_server.content = content
    root.mkdir(parents=True)
    if by_hand:
        (root / "tiny.zip").write_bytes(content)
    with pytest.raises(ModelError, match=reason) as raised:
        download_pack(Known(file_server.url), root)
    assert str(root / "tiny.zip") in str(raised.value)
    assert names_in(root) == (["tiny.zip"] if by_hand else [])


def test_zip_put_where_the_offline_error_says_is_used(names_in, file_server, root: Path) -> None:
    file_server.statuses = [404]
    with pytest.raises(DownloadError) as raised:
        download_pack(Known(file_server.url), root)
    assert f"folder {root} " in str(raised.value) and "name tiny.zip " in str(raised.value)
    (root / "tiny.zip").write_bytes(zipped(det=DETECTOR))
    folder = download_pack(Known(file_server.url), root)
    assert names_in(folder) == ["det.onnx"] and names_in(root) == ["tiny"]
    assert len(file_server.ranges) == 1


def test_room_for_unpacking_is_asked_for_before_the_first_byte(
    names_in, file_server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = zipped(det=DETECTOR)
    free = 2 * len(file_server.content)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(DownloadError, match="are needed"):
        download_pack(Known(file_server.url), root)
    assert names_in(root) == []


def test_full_disk_while_unpacking_keeps_the_zip_for_the_next_time(
    names_in, file_server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = zipped(det=DETECTOR)
    free = iter([10**9, 0, 10**9])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(DownloadError, match="are needed"):
        download_pack(Known(file_server.url), root)
    assert names_in(root) == ["tiny.zip"]
    download_pack(Known(file_server.url), root)
    assert names_in(root) == ["tiny"]
    assert len(file_server.ranges) == 1


def test_interrupted_download_of_a_pack_goes_on(names_in, file_server, root: Path) -> None:
    file_server.content = zipped(det=DETECTOR * 20)
    known = Known(file_server.url, files={"det.onnx": None})

    class Interrupted(BaseException):
        pass

    def interrupt(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        download_pack(known, root, interrupt)
    assert names_in(root) == ["tiny.zip.part", "tiny.zip.part.json"]
    download_pack(known, root)
    assert names_in(root) == ["tiny"]
    assert sum(path.stat().st_size for path in (root / "tiny").iterdir()) == len(DETECTOR) * 20
    assert all(wanted is None or wanted != "bytes=0-" for wanted in file_server.ranges)


RECOGNIZER = bytes(reversed(DETECTOR))


class TestSingleFiles:
    """A pack whose files are to be had one by one."""

    @pytest.fixture
    def known(self, file_server) -> Known:
        base = file_server.url.rpartition("/")[0]
        file_server.by_path = {"/a/det.onnx": DETECTOR, "/b/glintr100.onnx": RECOGNIZER}
        return Known(
            url="",
            files={
                "det.onnx": hashlib.sha256(DETECTOR).hexdigest(),
                "rec.onnx": hashlib.sha256(RECOGNIZER).hexdigest(),
            },
            urls={"det.onnx": f"{base}/a/det.onnx", "rec.onnx": f"{base}/b/glintr100.onnx"},
        )

    def hold(self, folder: Path, names_in) -> None:
        assert names_in(folder) == ["det.onnx", "rec.onnx"]
        assert (folder / "det.onnx").read_bytes() == DETECTOR
        assert (folder / "rec.onnx").read_bytes() == RECOGNIZER

    def test_all_arrive_and_nothing_else_stays(
        self, names_in, known: Known, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "FastFace"):
            folder = download_pack(known, root)
        self.hold(folder, names_in)
        assert names_in(root) == ["tiny"]
        assert known.licence in caplog.text and known.urls["rec.onnx"] in caplog.text

    def test_it_is_never_half_there(self, names_in, file_server, known: Known, root: Path) -> None:
        file_server.by_path["/b/glintr100.onnx"] = b"another network"
        with pytest.raises(DownloadError, match="the file on the server is not the released one"):
            download_pack(known, root)
        assert "tiny" not in names_in(root)
        file_server.by_path["/b/glintr100.onnx"] = RECOGNIZER
        before = len(file_server.ranges)
        self.hold(download_pack(known, root), names_in)
        assert len(file_server.ranges) == before + 1, "the first file had arrived"

    def test_what_is_there_is_verified_and_not_downloaded(
        self, names_in, file_server, known: Known, root: Path
    ) -> None:
        (root / "tiny").mkdir(parents=True)
        (root / "tiny" / "det.onnx").write_bytes(DETECTOR)
        (root / "tiny.rec.onnx").write_bytes(RECOGNIZER)  # where the offline error says
        self.hold(download_pack(known, root), names_in)
        assert file_server.ranges == [] and names_in(root) == ["tiny"]

    def test_anothers_file_is_named_and_kept(self, file_server, known: Known, root: Path) -> None:
        (root / "tiny").mkdir(parents=True)
        (root / "tiny" / "rec.onnx").write_bytes(b"the user's own")
        with pytest.raises(ModelError, match="is not the released file of tiny"):
            download_pack(known, root)
        assert (root / "tiny" / "rec.onnx").read_bytes() == b"the user's own"
        assert file_server.ranges == []
