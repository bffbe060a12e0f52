"""Whatever happens to a file of the graph cache: right answers, one line in the log, healed."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("onnx")
pytest.importorskip("safetensors")

from fastface.backends.base import GraphBackend
from fastface.backends.onnx_graphs import graph_cache
from fastface.backends.onnx_graphs.cache_entries import Entry, read_entry, write_entry
from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends, get_backend
from fastface.backends.sessions.margin_session import MarginSession
from fastface.utils import host
from fastface.utils.checksummed_file import checksum, read_header
from fastface.utils.errors import ModelError
from fastface.utils.packs import ModelPack
from fastface.utils.packs.read import read_pack
from tests.backends.small_pack import BACKENDS, answers, are_same, make_small_pack

Damage = Callable[[Path], object]


def flip_bits(path: Path, count: int) -> None:
    """Flips some bits of the last half, where weights are."""
    data = bytearray(path.read_bytes())
    where = random.Random(0)
    for _ in range(count):
        data[where.randrange(len(data) // 2, len(data))] ^= 1 << where.randrange(8)
    path.write_bytes(data)


def anothers(path: Path) -> None:
    """What another entry has in a file of this kind, or of any."""
    same = [other for other in path.parent.glob(f"*{path.suffix}") if other != path]
    others = [other for other in same if other.read_bytes() != path.read_bytes()]
    path.write_bytes(others[0].read_bytes() if others else b"\x89PNG\r\n\x1a\n" + bytes(64))


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    (path / "folder").mkdir(parents=True)


def replaced_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)  # opened by whoever trusts it, it waits for ever


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a byte too long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "one bit flipped": lambda path: flip_bits(path, 1),
    "1,000 bits flipped": lambda path: flip_bits(path, 1000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "JSON": lambda path: path.write_text(json.dumps({"facts": {}, "unfit": "", "files": {}})),
    "another's": anothers,
    "a folder": replaced_by_folder,
    **({"a pipe": replaced_by_pipe} if hasattr(os, "mkfifo") else {}),
}


def next_start() -> None:
    """Forgets what a process remembers of the cache."""
    graph_cache._caches.clear()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


class Cache:
    """A graph cache as a backend fills it with a pack, and what the pack answers."""

    def __init__(self, backend: str, pack: ModelPack, folder: Path) -> None:
        self.backend, self.pack, self.folder = backend, pack, folder
        self.expected = self.answers()
        self.entries: dict[str, list[Path]] = defaultdict(list)
        self.contents: dict[Path, bytes] = {}
        for path in sorted(folder.glob("*-v*")):
            self.entries[path.name.partition(".")[0]].append(path)
            self.contents[path] = path.read_bytes()

    def answers(self) -> list[Tensor]:
        next_start()
        return answers(self.pack, self.backend)

    def broken(self) -> set[str]:
        """Names of files that are not what they were, and of unfinished ones."""
        there = {path: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        changed = {path for path, content in self.contents.items() if there.get(path) != content}
        return {path.name for path in (*changed, *self.folder.glob("*.tmp"))}


@pytest.fixture(scope="module", params=BACKENDS)
def cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cache]:
    if reason := all_backends()[request.param].why_unavailable():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cache")
    pack = make_small_pack(tmp_path_factory.mktemp("pack"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(host, "cache_folder", lambda: folder)
        yield Cache(request.param, pack, folder / "graphs")
    next_start()


@pytest.mark.parametrize("name", DAMAGES)
def test_every_file_heals(cache: Cache, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert len(cache.entries) == {"onnxruntime": 5, "torch": 7, "openvino": 3}[cache.backend]
    # The first file of every entry, then the second, and so on.
    for turn in range(4):
        damaged = [files[turn] for files in cache.entries.values() if turn < len(files)]
        for path in damaged:
            DAMAGES[name](path)
        caplog.clear()
        got = cache.answers()
        said = warnings(caplog)
        assert are_same(got, cache.expected)
        for path in damaged:
            (line,) = [line for line in said if path.name in line]
            assert "made again" in line
            # Nobody is told that the pack is to blame.
            assert "download" not in line
        assert len(said) == len(damaged) and not cache.broken()
    caplog.clear()
    assert are_same(cache.answers(), cache.expected) and not warnings(caplog)


def test_every_missing_file_is_made_again(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    for files in cache.entries.values():
        for path in files:
            path.unlink()
            caplog.clear()
            assert are_same(cache.answers(), cache.expected) and not cache.broken()
            # That there never was an entry of one file is as likely as that it was deleted.
            assert len(warnings(caplog)) == (len(files) > 1)


def test_damage_while_the_process_runs_heals(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.answers()
    for files in cache.entries.values():
        flip_bits(files[-1], 1000)
        caplog.clear()
        assert are_same(answers(cache.pack, cache.backend), cache.expected)
        assert len(warnings(caplog)) == 1 and not cache.broken()


def test_what_another_process_deletes_while_it_is_in_use(cache: Cache) -> None:
    """A detector's whole graph is opened when it is first wanted."""
    engine = get_backend(cache.backend)
    assert isinstance(engine, GraphBackend)
    next_start()
    model = cache.pack.model("detection")
    session = engine.open_session(model, Placement("cpu", "fp32"))
    assert isinstance(session, MarginSession)
    for path in cache.folder.glob("*-v*"):
        path.unlink()
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) - 0.5
    assert are_same(list(session.whole.run(x)), list(session.run(x)))
    assert are_same(cache.answers(), cache.expected) and not cache.broken()


def test_an_entry_under_anothers_name_heals(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    of_pass = defaultdict(list)
    for name, files in cache.entries.items():
        of_pass[name.partition("-")[0], len(files)].append(name)
    first, second = next(names for names in of_pass.values() if len(names) > 1)[:2]
    for mine, others in zip(cache.entries[first], cache.entries[second], strict=True):
        mine.write_bytes(cache.contents[others])
    assert are_same(cache.answers(), cache.expected) and not cache.broken()
    assert len(warnings(caplog)) == 1 and "is something else" in caplog.text


@pytest.mark.parametrize("junk", [b"", b"junk" * 100, b"\x08\x07"])
def test_what_the_engine_refuses_is_made_again(
    cache: Cache, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that are what was written, if nothing that anything can open."""
    for files in cache.entries.values():
        for path in files:
            if path.suffix == ".entry":
                continue
            path.write_bytes(junk)
            seal(path)
            caplog.clear()
            assert are_same(cache.answers(), cache.expected) and not cache.broken()
            (line,) = warnings(caplog)
            assert path.name.partition(".")[0] in line and "made again" in line
            assert "download" not in line


def seal(path: Path) -> None:
    """Makes a file pass for what was written."""
    name, _, part = path.name.partition(".")
    key = read_header(path.parent / f"{name}.entry")["key"]
    found = read_entry(path.parent, key)
    assert found is not None
    entry, checksums = found
    sealed = {**checksums, part: checksum(path.read_bytes())}
    write_entry(path.parent, Entry(name, entry.facts, entry.unfit), key, sealed)


def test_a_pack_that_is_damaged_itself_is_to_blame(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(cache.pack.folder, tmp_path / "pack")
    pack = read_pack("pack", tmp_path / "pack")
    for model in pack.models:
        os.truncate(model.path, model.path.stat().st_size // 2)
    with pytest.raises(ModelError, match=str(pack.models[0].path)):
        answers(pack, cache.backend)
    assert not cache.broken()
