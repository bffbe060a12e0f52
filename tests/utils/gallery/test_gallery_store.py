"""Galleries on disk: found again, taken back, damaged, of newer versions, with many writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastface.utils.errors import FileError, InvalidInput, ModelError
from fastface.utils.gallery import gallery_store as store_module
from fastface.utils.gallery.contents import (
    Gallery,
    with_added,
    with_deleted,
    with_merged,
    with_renamed,
)
from fastface.utils.gallery.gallery_store import GalleryStore
from fastface.utils.progress import heard_by
from install import ROOT
from tests.rights import read_only
from tests.utils.gallery.people import SPACE, person, vectors_of


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore(tmp_path / "galleries" / "friends")


def add(store: GalleryStore, *numbers: int) -> Gallery:
    return store.change(lambda old: with_added(old, [person(n, 2) for n in numbers], SPACE))


def files(store: GalleryStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def same(one: Gallery, other: Gallery) -> bool:
    return (
        one.names == other.names
        and (one.space, one.facts) == (other.space, other.facts)
        and all(
            torch.equal(one.of(first), other.of(second))
            and [each.origin for each in first.samples] == [each.origin for each in second.samples]
            for first, second in zip(one.identities, other.identities, strict=True)
        )
    )


def test_what_was_added_is_read_again(store: GalleryStore):
    assert not store.exists() and store.state() == ()
    written = add(store, 0, 1)
    assert same(GalleryStore(store.folder).read(), written)
    assert torch.equal(written.of(written.identities[1]), vectors_of(1, 2))
    text = (store.folder / "gallery.json").read_text(encoding="utf-8")
    assert '"name": "person 1"' in text and SPACE in text


def test_what_is_added_goes_into_a_further_file_and_many_are_made_one(store: GalleryStore):
    for number in range(3):
        add(store, number)
    assert len(list(store.folder.glob("vectors-*"))) == 3
    for number in range(3, 33):
        add(store, number)
    # Those of the state before stay for undo.
    assert len(json.loads((store.folder / "gallery.json").read_text())["segments"]) == 1
    last = add(store, 99)
    assert len(list(store.folder.glob("vectors-*"))) == 2
    assert len(last) == 34 and same(store.read(), last)


@pytest.mark.parametrize(
    "edit",
    [
        lambda old: with_added(old, [person(7)], SPACE),
        lambda old: with_renamed(old, "person 0", "Anna"),
        lambda old: with_merged(old, "person 0", "person 1"),
        lambda old: with_deleted(old, "person 1"),
    ],
)
def test_every_change_can_be_taken_back_and_made_again(
    store: GalleryStore, edit: Callable[[Gallery], Gallery]
):
    before = add(store, 0, 1, 2)
    after = store.change(edit)
    assert not same(before, after) and same(store.read(), after)
    assert same(store.undo(), before) and same(store.read(), before)
    assert same(store.undo(), after) and same(store.read(), after)


def test_deleted_people_are_gone_from_disk_with_the_next_change(store: GalleryStore):
    add(store, 0)
    add(store, 1)
    store.change(lambda old: with_deleted(old, "person 0"))
    add(store, 2)
    held = b"".join(path.read_bytes() for path in store.folder.glob("vectors-*"))
    assert vectors_of(1, 2).numpy().tobytes() in held
    assert vectors_of(0, 2)[0].numpy().tobytes() not in held


def test_nothing_changed_writes_nothing(store: GalleryStore):
    add(store, 0)
    before = store.state()
    store.change(lambda old: old)
    assert store.state() == before and "undo.json" not in files(store)


def test_the_state_differs_with_every_change(store: GalleryStore):
    states = set()
    for number in range(5):
        add(store, number)
        states.add(store.state())
    store.undo()
    states.add(store.state())
    assert len(states) == 6


def test_a_gallery_is_portable(store: GalleryStore, tmp_path: Path):
    written = add(store, 0, 1)
    store.folder.rename(tmp_path / "elsewhere")
    assert same(GalleryStore(tmp_path / "elsewhere").read(), written)


class TestRefusals:
    def test_there_is_none(self, store: GalleryStore):
        with pytest.raises(InvalidInput, match="got gallery 'friends', which is not there"):
            store.read()
        with pytest.raises(InvalidInput, match="nothing to undo"):
            store.undo()

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "another"])
    def test_damaged_vectors(self, store: GalleryStore, damage: str):
        add(store, 0)
        (file,) = store.folder.glob("vectors-*")
        content = bytearray(file.read_bytes())
        if damage == "cut":
            file.write_bytes(content[:-5])
        elif damage == "flipped":
            content[-1] ^= 1
            file.write_bytes(content)
        elif damage == "empty":
            file.write_bytes(b"")
        elif damage == "gone":
            file.unlink()
        else:
            file.write_bytes(b"not safetensors at all")
        before = {path: path.read_bytes() for path in store.folder.iterdir()}
        for work in (store.read, lambda: add(store, 1)):
            with pytest.raises(ModelError, match="'friends'"):
                work()
        assert {path: path.read_bytes() for path in store.folder.iterdir()} == before

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b'{"format": "other"}',
            b'{"format": "fastface-gallery", "version": 1}',
            b"[" * 100_000,
            b"\xff\xfe",
        ],
    )
    def test_damaged_json(self, store: GalleryStore, content: bytes):
        add(store, 0)
        (store.folder / "gallery.json").write_bytes(content)
        for work in (store.read, lambda: add(store, 1)):
            with pytest.raises(ModelError, match=r"gallery\.json of gallery 'friends' is damaged"):
                work()
        assert (store.folder / "gallery.json").read_bytes() == content

    @pytest.mark.parametrize(
        "change",
        [
            lambda told: told["segments"][0].update(file="../../secret.safetensors"),
            lambda told: told["segments"][0].update(rows=9),
            lambda told: told["identities"][0]["embeddings"][0].update(row=17),
            lambda told: told["identities"][0].pop("name"),
            lambda told: told.update(facts=3),
            lambda told: told["identities"][0].update(name="\ud800"),
            lambda told: told["identities"][0].update(name=7),
            lambda told: told["identities"][0]["embeddings"][0].update(row=float("inf")),
            lambda told: told["identities"][0]["embeddings"][0].update(row=-1),
        ],
    )
    def test_json_that_does_not_fit(self, store: GalleryStore, change: Callable[[dict], object]):
        add(store, 0)
        file = store.folder / "gallery.json"
        told = json.loads(file.read_text())
        change(told)
        file.write_text(json.dumps(told))
        with pytest.raises(ModelError, match="is damaged"):
            store.read()

    def test_a_newer_version(self, store: GalleryStore):
        add(store, 0)
        file = store.folder / "gallery.json"
        told = json.loads(file.read_text()) | {"version": 2}
        file.write_text(json.dumps(told))
        for work in (store.read, lambda: add(store, 1)):
            with pytest.raises(ModelError, match=r"version 2 .*update ComfyUI-FastFace"):
                work()

    def test_a_folder_that_is_read_only(self, store: GalleryStore):
        written = add(store, 0)
        with read_only(store.folder):
            with pytest.raises(FileError, match="right to write there"):
                add(store, 1)
            assert same(store.read(), written)

    def test_a_folder_that_can_not_be(self, tmp_path: Path):
        (tmp_path / "galleries").write_text("a file")
        with pytest.raises(FileError, match="a part of that path is a file"):
            add(GalleryStore(tmp_path / "galleries" / "friends"), 1)

    def test_a_full_disk(self, store: GalleryStore, monkeypatch: pytest.MonkeyPatch):
        written = add(store, 0)

        def full(path: Path, content: bytes, *_: object) -> None:
            raise FileError(f"the disk of {path.parent} is full")

        monkeypatch.setattr(store_module, "write_whole", full)
        with pytest.raises(FileError, match="is full"):
            add(store, 1)
        assert same(store.read(), written)


#: Adds so many people one after the other; started several times at once.
_WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from install import import_pack
    import_pack("fastface")
    from fastface.utils.gallery.contents import with_added
    from fastface.utils.gallery.gallery_store import GalleryStore
    from tests.utils.gallery.people import SPACE, person
    store, first, count, at_once = GalleryStore(Path(sys.argv[1])), *map(int, sys.argv[2:])
    for start in range(first, first + count, at_once):
        people = [person(number) for number in range(start, start + at_once)]
        store.change(lambda old: with_added(old, people, SPACE))
"""


def writer(store: GalleryStore, first: int, count: int, at_once: int) -> subprocess.Popen[bytes]:
    script = textwrap.dedent(_WRITER.format(root=str(ROOT)))
    arguments = [str(store.folder), str(first), str(count), str(at_once)]
    return subprocess.Popen([sys.executable, "-c", script, *arguments])


def test_two_processes_that_add_at_once_lose_nobody(store: GalleryStore):
    count, at_once = 1000, 20
    both = [writer(store, first, count, at_once) for first in (0, count)]
    assert [process.wait(300) for process in both] == [0, 0]
    gallery = store.read()
    assert set(gallery.names) == {f"person {number}" for number in range(2 * count)}
    for number in (0, 999, 1000, 1999):
        identity = gallery.identities[gallery.place(f"person {number}")]
        assert torch.equal(gallery.of(identity), vectors_of(number))


def test_readers_meet_whole_galleries_while_others_write(store: GalleryStore):
    add(store, 5000)
    process = writer(store, 0, 60, 1)
    sizes = []
    while process.poll() is None:
        sizes.append(len(store.read()))
    assert process.wait() == 0 and sizes == sorted(sizes) and len(store.read()) == 61


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_writers_that_are_killed_lose_nobody():
    # In a process of its own: this one has threads, which forks can't take along.
    command = [sys.executable, "-m", "tests.utils.gallery.killed_writers", "--kills", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nobody lost or half" in done.stdout


class Stop(BaseException):
    """As ComfyUI's own exception in new versions."""


def test_a_change_of_many_people_can_be_stopped_and_changes_nothing(store: GalleryStore):
    people = [person(number, 1) for number in range(1500)]
    before = store.change(lambda old: with_added(old, people, SPACE))
    name = before.identities[0].name
    asked, last = 0, 0

    def listener(_done: float) -> None:
        nonlocal asked
        asked += 1
        if asked == last:
            raise Stop

    with heard_by(listener):
        store.read()
        read = asked
        store.change(lambda old: with_renamed(old, name, "Zoe"))
        changed = asked - read
        store.undo()
    assert read > 1500 // 256 and changed > 3 * (1500 // 256)
    for place in (1, read, read + 1, changed // 2, changed - 1, changed):
        asked, last = 0, place
        with heard_by(listener), pytest.raises(Stop):
            store.change(lambda old: with_renamed(old, name, "Zoe"))
        assert same(store.read(), before)
    asked = last = 0
    with heard_by(listener):
        assert "Zoe" in store.change(lambda old: with_renamed(old, name, "Zoe")).names
