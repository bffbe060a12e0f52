"""Whose weights a pack holds is told by their content, and nothing is claimed by a name."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

import pytest

from fastface.utils import packs
from fastface.utils.packs import ModelFile, ModelPack, checksums, provenance
from fastface.utils.packs.checksums import content_sha256
from fastface.utils.packs.known import KNOWN_PACKS, KnownPack
from fastface.utils.packs.licences import AURAFACE, INSIGHTFACE, PACK_LICENCES
from fastface.utils.packs.provenance import Provenance
from fastface.utils.packs.read import RANDOM_WEIGHTS_MARKER, read_pack
from fastface.utils.packs.released import (
    RELEASED_FILES,
    RELEASED_SIZES,
    ReleasedFile,
)
from tests.utils.packs.conftest import WriteOnnx

DETECTOR = ([(1, 3, "h", "w")], [("n", 4)] * 9)
RECOGNISER = ([(1, 3, 112, 112)], [(1, 512)])
OTHER_RECOGNISER = ([(1, 3, 112, 112)], [(1, 513)])


def publish(
    monkeypatch: pytest.MonkeyPatch, **files: tuple[Path, packs.released.Publisher]
) -> None:
    """Makes small files the ones that were released."""
    released = [
        ReleasedFile(name, content_sha256(path), path.stat().st_size, publisher)
        for name, (path, publisher) in files.items()
    ]
    by_content = MappingProxyType({file.sha256: file for file in released})
    sizes = frozenset(file.size_bytes for file in released)
    monkeypatch.setattr(provenance, "RELEASED_FILES", by_content)
    monkeypatch.setattr(provenance, "RELEASED_SIZES", sizes)
    monkeypatch.setattr(packs, "RELEASED_FILES", by_content)


@pytest.fixture
def folder(tmp_path: Path, write_onnx: WriteOnnx) -> Path:
    """A folder called antelopev2 with files called as in it."""
    folder = tmp_path / "antelopev2"
    folder.mkdir()
    write_onnx(folder / "scrfd_10g_bnkps.onnx", *DETECTOR)
    write_onnx(folder / "glintr100.onnx", *RECOGNISER)
    return folder


def test_released_files_are_recognised_whatever_they_are_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(
        monkeypatch,
        glintr100=(folder / "glintr100.onnx", INSIGHTFACE),
        scrfd=(folder / "scrfd_10g_bnkps.onnx", INSIGHTFACE),
    )
    other = folder.parent / "mine"
    folder.rename(other)
    (other / "glintr100.onnx").rename(other / "model.onnx")
    pack = read_pack("mine", other)
    told = provenance.provenance(pack)
    assert told.origin == f"InsightFace, {INSIGHTFACE.url} (contents verified)"
    assert "non-commercial" in told.licence
    assert pack.embedding_space == f"glintr100@{content_sha256(other / 'model.onnx')[:12]}"


def test_auraface_in_antelopev2s_clothes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(
        monkeypatch,
        auraface_v1=(folder / "glintr100.onnx", AURAFACE),
        scrfd=(folder / "scrfd_10g_bnkps.onnx", INSIGHTFACE),
    )
    pack = read_pack("antelopev2", folder)
    told = provenance.provenance(pack)
    assert f"recognition: AuraFace v1 by fal, {AURAFACE.url}" in told.origin
    assert f"detection: InsightFace, {INSIGHTFACE.url}" in told.origin
    assert "recognition: Apache-2.0" in told.licence
    assert re.search("detection: .*non-commercial", told.licence)
    assert (pack.embedding_space or "").startswith("auraface_v1@")


def test_a_known_name_proves_nothing(folder: Path) -> None:
    pack = read_pack("antelopev2", folder)
    told = provenance.provenance(pack)
    assert told.origin.startswith(
        "unknown: named like antelopev2 of InsightFace, but not what was released"
    )
    assert "non-commercial" not in told.licence and told.licence.startswith("unknown: ask")
    assert (pack.embedding_space or "").startswith("custom@")


def test_what_has_no_published_hash_is_not_vouched_for(
    tmp_path: Path, write_onnx: WriteOnnx
) -> None:
    folder = tmp_path / "buffalo_s"
    folder.mkdir()
    write_onnx(folder / "1k3d68.onnx", [(1, 3, 192, 192)], [(1, 3309)])
    assert KNOWN_PACKS["buffalo_s"].files["1k3d68.onnx"] is None
    told = provenance.provenance(read_pack("buffalo_s", folder))
    assert told.origin == "unknown: named like buffalo_s of InsightFace; contents not verified"
    assert re.match("unknown: .*; if it is the released file: .*non-commercial", told.licence)


def test_other_files_are_what_the_pack_says(tmp_path: Path, write_onnx: WriteOnnx) -> None:
    folder = tmp_path / "buffalo_l"
    folder.mkdir()
    write_onnx(folder / "mine.onnx", *DETECTOR)
    told = provenance.provenance(read_pack("buffalo_l", folder))
    assert told == Provenance("local folder", "unknown: ask whoever gave you the weights")


def test_random_weights_are_nobodys(folder: Path) -> None:
    (folder / RANDOM_WEIGHTS_MARKER).touch()
    told = provenance.provenance(read_pack("antelopev2", folder))
    assert told.origin.startswith("RANDOM WEIGHTS") and told.licence == "none needed"


def test_a_size_that_nobody_released_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert provenance.provenance(read_pack("antelopev2", folder))


class TestSpaces:
    def space(self, path: Path, name: str | None = None) -> str | None:
        return ModelPack(
            "pack", path.parent, (ModelFile(path, "recognition"),), space=name
        ).embedding_space

    def test_it_goes_by_content_alone(self, tmp_path: Path, write_onnx: WriteOnnx) -> None:
        spaces = set()
        for place in ("a/w600k_r50.onnx", "b/model.onnx", "c/w600k_r50.onnx"):
            (tmp_path / place).parent.mkdir()
            spaces.add(self.space(write_onnx(tmp_path / place, *RECOGNISER)))
        assert len(spaces) == 1
        (tmp_path / "d").mkdir()
        other = write_onnx(tmp_path / "d" / "w600k_r50.onnx", *OTHER_RECOGNISER)
        assert self.space(other) not in spaces

    def test_of_two_files_of_one_name_and_size(self, tmp_path: Path, write_onnx: WriteOnnx) -> None:
        first = write_onnx(tmp_path / "w600k_r50.onnx", *RECOGNISER)
        second = tmp_path / "other" / "w600k_r50.onnx"
        second.parent.mkdir()
        data = bytearray(first.read_bytes())
        data[len(data) // 2] ^= 1
        second.write_bytes(data)
        assert first.stat().st_size == second.stat().st_size
        assert self.space(first) != self.space(second)

    def test_a_name_of_its_own_does_not_make_two_contents_one(self, tmp_path: Path) -> None:
        spaces = []
        for content in (b"one", b"two"):
            (tmp_path / "a.pt").write_bytes(content)
            spaces.append(self.space(tmp_path / "a.pt", "facenet"))
        assert all(re.fullmatch("facenet@[0-9a-f]{12}", space or "") for space in spaces)
        assert spaces[0] != spaces[1]


class TestReleased:
    def test_each_file_can_be_recognised(self) -> None:
        for sha256, file in RELEASED_FILES.items():
            assert sha256 == file.sha256 and re.fullmatch("[0-9a-f]{64}", sha256)
            assert file.size_bytes > 100_000
        assert {file.size_bytes for file in RELEASED_FILES.values()} == RELEASED_SIZES

    @pytest.mark.parametrize("pack", KNOWN_PACKS.values(), ids=KNOWN_PACKS)
    def test_known_packs_hold_the_files_of_their_publishers(self, pack: KnownPack) -> None:
        publishers = PACK_LICENCES[pack.name].publishers
        released = [RELEASED_FILES[sha256] for sha256 in pack.files.values() if sha256]
        assert {file.publisher for file in released} <= set(publishers)
        if pack.urls:
            assert [file.publisher for file in released] == list(publishers)
            size_mb = sum(file.size_bytes for file in released) / 1e6
            assert pack.size_mb == pytest.approx(size_mb, abs=0.05)

    def test_every_file_of_insightface_is_in_a_known_pack(self) -> None:
        hashes = {h for pack in KNOWN_PACKS.values() for h in pack.files.values() if h}
        of_insightface = {
            sha256 for sha256, file in RELEASED_FILES.items() if file.publisher is INSIGHTFACE
        }
        assert of_insightface <= hashes

    def test_auraface_is_its_own(self) -> None:
        (auraface,) = [f for f in RELEASED_FILES.values() if f.publisher is AURAFACE]
        assert auraface.sha256 not in KNOWN_PACKS["antelopev2"].files.values()
        assert AURAFACE.licence == "Apache-2.0"
