"""The graph cache: what is kept, what is not, what goes, and who may use it at once."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastface.backends.onnx_graphs import cache_entries, graph_cache
from fastface.backends.onnx_graphs.cache_entries import Entry
from fastface.backends.onnx_graphs.graph_cache import GraphCache, Unfit
from fastface.utils import host, locks
from fastface.utils.errors import ModelError
from tests.rights import read_only

DAY = 24 * 3600


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a graph")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "graphs"


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where goes what the cache folder can't take."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(host, "temporary_folder", lambda: path)
    return path


def writing(content: bytes = b"made", facts: dict[str, Any] | None = None) -> Callable:
    def make(new_file: Callable[[str], Path]) -> dict[str, Any]:
        new_file("onnx").write_bytes(content)
        return facts or {}

    return make


def not_to_be_made(new_file: object) -> dict[str, Any]:
    raise AssertionError("it was there already")


def entry_of(entry: Entry) -> Entry:
    return entry


def obtain(
    cache: GraphCache, source: Path, make: Callable = not_to_be_made, **conditions: Any
) -> Entry:
    return cache.obtain("batched", source, source.name, make, entry_of, **conditions)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def never() -> None:
    raise AssertionError("nobody else holds the lock")


def test_what_was_made_is_found_by_the_next_process(folder: Path, source: Path):
    made = obtain(GraphCache(folder), source, writing(facts={"number": 3}))
    assert made.files["onnx"].read_bytes() == b"made" and made.facts == {"number": 3}
    assert obtain(GraphCache(folder), source) == made
    assert names(folder) == {f"{made.name}.entry", f"{made.name}.onnx"}


def test_another_content_condition_or_version_is_another_entry(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = GraphCache(folder)
    first = obtain(cache, source, writing())
    second = obtain(cache, source, writing(), proved_by="another runtime")
    source.write_bytes(b"another graph")
    third = obtain(cache, source, writing())
    monkeypatch.setitem(cache_entries.VERSIONS, "batched", cache_entries.VERSIONS["batched"] + 1)
    fourth = obtain(cache, source, writing())
    assert len({each.name for each in (first, second, third, fourth)}) == 4


def test_a_copy_of_the_source_is_the_same(folder: Path, source: Path, tmp_path: Path):
    cache = GraphCache(folder)
    made = obtain(cache, source, writing())
    copy = tmp_path / "another name.onnx"
    copy.write_bytes(source.read_bytes())
    assert obtain(cache, copy) == made


def test_that_answers_differ_is_remembered(folder: Path, source: Path):
    def make(new_file: Callable[[str], Path]) -> dict[str, Any]:
        new_file("onnx").write_bytes(b"of no use")
        raise Unfit("output 3 by 0.5")

    assert obtain(GraphCache(folder), source, make).unfit == "output 3 by 0.5"
    found = obtain(GraphCache(folder), source)
    assert found.unfit == "output 3 by 0.5" and not found.files
    assert names(folder) == {f"{found.name}.entry"}


@pytest.mark.parametrize(
    "error", [MemoryError(), ModelError("it can't be run"), KeyboardInterrupt(), ValueError("?")]
)
def test_no_other_failure_is_remembered(folder: Path, source: Path, error: BaseException):
    def make(new_file: Callable[[str], Path]) -> dict[str, Any]:
        new_file("onnx").write_bytes(b"half of it")
        raise error

    cache = GraphCache(folder)
    with pytest.raises(type(error)):
        obtain(cache, source, make)
    assert names(folder) == set()
    assert obtain(cache, source, writing()).files["onnx"].read_bytes() == b"made"


def test_a_full_disk_costs_the_next_start_and_not_this_one(
    folder: Path,
    source: Path,
    temporary_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    replacing = graph_cache.replacing

    def full(path: Path) -> Any:
        if path.parent == folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replacing(path)

    cache = GraphCache(folder)
    with monkeypatch.context() as patched:
        patched.setattr(graph_cache, "replacing", full)
        made = obtain(cache, source, writing())
        assert made.files["onnx"].read_bytes() == b"made"
        assert temporary_folder in made.files["onnx"].parents
    # One line, and none when it is used again.
    assert obtain(cache, source) == made
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert obtain(GraphCache(folder), source, writing()).files["onnx"].parent == folder


def test_no_room_anywhere_is_the_callers_to_know(
    folder: Path, source: Path, full_disk: None, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(OSError, match="No space left"):
        obtain(GraphCache(folder), source, writing())
    assert names(folder) == set()


def test_a_folder_that_is_only_read_serves_what_is_there(folder: Path, source: Path):
    made = obtain(GraphCache(folder), source, writing())
    with read_only(folder):
        assert obtain(GraphCache(folder), source) == made


@pytest.mark.parametrize("read_error", [KeyError("x"), ValueError("x"), TypeError("x")])
def test_what_can_not_be_read_is_made_again(
    folder: Path, source: Path, read_error: Exception, caplog: pytest.LogCaptureFixture
):
    obtain(GraphCache(folder), source, writing(b"old"))

    def read(entry: Entry) -> bytes:
        content = entry.files["onnx"].read_bytes()
        if content == b"old":
            raise read_error
        return content

    cache = GraphCache(folder)
    assert cache.obtain("batched", source, "model.onnx", writing(b"new"), read) == b"new"
    assert len(caplog.records) == 1 and "made again, of model.onnx" in caplog.text


def test_a_file_is_hashed_once(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch):
    obtain(GraphCache(folder), source, writing())
    hashed = []
    file_sha256 = graph_cache.file_sha256
    monkeypatch.setattr(
        graph_cache, "file_sha256", lambda path: (hashed.append(path), file_sha256(path))[1]
    )
    cache = GraphCache(folder)
    first = obtain(cache, source)
    for _ in range(3):
        obtain(cache, source)
    assert hashed == [first.files["onnx"]]


def test_what_an_engine_refuses_is_made_again_unless_that_was_just_done(
    folder: Path, source: Path, caplog: pytest.LogCaptureFixture
):
    obtain(GraphCache(folder), source, writing(b"old"))
    cache = GraphCache(folder)
    path = obtain(cache, source).files["onnx"]
    assert cache.reject(path, RuntimeError("no such\noperator"))
    assert [each.getMessage() for each in caplog.records] == [
        f"graph cache: {path.name} is refused (no such operator); it is made again"
    ]
    assert obtain(cache, source, writing(b"new")).files["onnx"].read_bytes() == b"new"
    assert not cache.reject(path, RuntimeError("again"))
    path.write_bytes(b"changed since")
    assert cache.reject(path, RuntimeError("again"))
    assert not cache.reject(source, RuntimeError("none of the cache's"))


def test_what_is_refused_in_a_folder_that_is_only_read_is_made_elsewhere(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    obtain(GraphCache(folder), source, writing(b"old"))
    cache = GraphCache(folder)
    path = obtain(cache, source).files["onnx"]
    replacing = graph_cache.replacing

    def read_only(path: Path) -> Any:
        if path.parent == folder:
            raise OSError(errno.EROFS, "Read-only file system")
        return replacing(path)

    monkeypatch.setattr(graph_cache, "replacing", read_only)
    monkeypatch.setattr(graph_cache, "delete_entry", lambda folder, name: None)
    assert cache.reject(path, RuntimeError("no"))
    for make in (writing(b"new"), not_to_be_made):
        assert obtain(cache, source, make).files["onnx"].read_bytes() == b"new"


def test_older_versions_are_cleared_away(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    old = obtain(GraphCache(folder), source, writing())
    ends = ("v1.onnx", "v1.txt", "v1.batches", "h1.json", "h1.front.onnx", "t1.onnx")
    former = {f"{'0123456789abcdef' * 2}-{end}" for end in ends}
    former |= {f"split-v1-{'0123456789abcdef' * 2}.{end}" for end in ("entry", "front.onnx")}
    for name in former | {"readme.txt", "future-v9-0123456789abcdef0123456789abcdef.entry"}:
        (folder / name).touch()
    weights = folder.parent / "weights"
    weights.mkdir()
    (weights / f"{'0123456789abcdef' * 2}-v1.safetensors").touch()
    monkeypatch.setitem(cache_entries.VERSIONS, "batched", 7)
    new = obtain(GraphCache(folder), source, writing())
    # What is not known to be of no use stays.
    assert names(folder) == {
        f"{new.name}.entry", f"{new.name}.onnx",
        "readme.txt", "future-v9-0123456789abcdef0123456789abcdef.entry",
    }  # fmt: skip
    assert old.name != new.name and not weights.exists()


def test_what_a_killed_process_left_is_cleared_away(
    folder: Path, source: Path, caplog: pytest.LogCaptureFixture
):
    made = obtain(GraphCache(folder), source, writing())
    (folder / f"{made.name}.entry").unlink()
    (folder / ".fastface-elsewhere-1-0123456789ab.tmp").touch()
    obtain(GraphCache(folder), source, writing())
    assert names(folder) == {f"{made.name}.entry", f"{made.name}.onnx"}
    (warning,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "1 files without an entry" in warning.getMessage()


def test_nothing_is_cleared_away_while_another_process_writes(folder: Path, source: Path):
    made = obtain(GraphCache(folder), source, writing())
    orphan = folder / made.name.replace(made.name[-32:], "f" * 32)
    orphan = orphan.with_name(f"{orphan.name}.onnx")
    orphan.write_bytes(b"its entry is about to be written")
    with locks.locked(folder / ".entries.lock", never):
        assert obtain(GraphCache(folder), source) == made
        assert orphan.exists()
    obtain(GraphCache(folder), source)
    assert not orphan.exists()


class TestLimit:
    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / f"{number}.onnx" for number in range(4)]
        for path in paths:
            path.write_bytes(path.name.encode())
        return paths

    @pytest.fixture
    def filled(self, folder: Path, sources: list[Path]) -> list[Entry]:
        """Four entries of 1,000 bytes and a little, the first used longest ago."""
        entries = [obtain(GraphCache(folder), path, writing(bytes(1000))) for path in sources]
        for age, entry in enumerate(reversed(entries), 1):
            then = time.time() - age * DAY
            os.utime(folder / f"{entry.name}.entry", (then, then))
        return entries

    def test_what_was_used_longest_ago_goes(
        self, folder: Path, sources: list[Path], filled: list[Entry], tmp_path: Path, monkeypatch
    ):
        obtain(GraphCache(folder), sources[0])  # used again
        monkeypatch.setenv("FASTFACE_GRAPH_CACHE_LIMIT", "4500")
        new = tmp_path / "new.onnx"
        new.write_bytes(b"new")
        made = obtain(GraphCache(folder), new, writing(bytes(1000)))
        kept = {filled[0].name, filled[3].name, made.name}
        assert {name.partition(".")[0] for name in names(folder)} == kept

    def test_what_this_process_uses_stays(
        self, folder: Path, sources: list[Path], filled: list[Entry], tmp_path: Path, monkeypatch
    ):
        cache = GraphCache(folder)
        for path in sources[:2]:
            obtain(cache, path)
        monkeypatch.setenv("FASTFACE_GRAPH_CACHE_LIMIT", "1")
        new = tmp_path / "new.onnx"
        new.write_bytes(b"new")
        made = obtain(cache, new, writing())
        kept = {filled[0].name, filled[1].name, made.name}
        assert {name.partition(".")[0] for name in names(folder)} == kept

    def test_no_limit(self, folder: Path, sources: list[Path], filled: list[Entry], monkeypatch):
        monkeypatch.setenv("FASTFACE_GRAPH_CACHE_LIMIT", "0")
        obtain(GraphCache(folder), sources[0])
        assert len(names(folder)) == 8

    def test_a_lower_limit_counts_from_the_next_start(
        self, folder: Path, sources: list[Path], filled: list[Entry], monkeypatch
    ):
        monkeypatch.setenv("FASTFACE_GRAPH_CACHE_LIMIT", "1500")
        obtain(GraphCache(folder), sources[3])
        assert {name.partition(".")[0] for name in names(folder)} == {filled[3].name}


def test_what_another_process_deletes_is_made_again(folder: Path, source: Path, caplog):
    cache = GraphCache(folder)
    made = obtain(cache, source, writing())
    cache_entries.delete_entry(folder, made.name)
    assert obtain(cache, source, writing()) == made
    made.files["onnx"].unlink()
    assert obtain(cache, source, writing()) == made
    assert [each.getMessage() for each in caplog.records] == [
        f"graph cache: {made.name}.onnx is missing; it is made again, of model.onnx"
    ]


def test_many_threads_make_it_once(folder: Path, source: Path):
    made = []

    def slowly(new_file: Callable[[str], Path]) -> dict[str, Any]:
        made.append(1)
        time.sleep(0.1)
        return writing()(new_file)

    cache = GraphCache(folder)
    entries = []
    threads = [
        threading.Thread(target=lambda: entries.append(obtain(cache, source, slowly)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(entries) == 8 and len({each.name for each in entries}) == 1


def _in_another_process(folder: Path, source: Path, log: Path, start: float) -> None:
    gc.disable()  # what other tests left holds engines, whose threads a fork has not

    def make(new_file: Callable[[str], Path]) -> dict[str, Any]:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return writing()(new_file)

    time.sleep(max(0.0, start - time.time()))
    entry = obtain(GraphCache(folder), source, make)
    assert entry.files["onnx"].read_bytes() == b"made"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_several_processes_make_it_once(folder: Path, source: Path, tmp_path: Path):
    log, start = tmp_path / "log", time.time() + 0.3
    context = multiprocessing.get_context("fork")
    arguments = (folder, source, log, start)
    processes = [context.Process(target=_in_another_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == "made\n"


def test_a_process_that_never_ends_writing_is_not_waited_for_for_ever(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(graph_cache, "_WAIT_SECONDS", 0.5)
    folder.mkdir(parents=True)
    with locks.locked(folder / ".entries.lock", never):
        assert obtain(GraphCache(folder), source, writing()).files
    assert "goes on without waiting" in caplog.text


def test_waiting_can_be_interrupted(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch):
    class Stop(Exception):
        pass

    def check_interrupted() -> None:
        raise Stop

    folder.mkdir(parents=True)
    cache = GraphCache(folder)
    obtain(cache, source, writing())
    source.write_bytes(b"another")
    monkeypatch.setattr(graph_cache.host, "check_interrupted", check_interrupted)
    with locks.locked(folder / ".entries.lock", never), pytest.raises(Stop):
        obtain(cache, source, writing())


def test_a_drive_without_locks_is_no_obstacle(folder: Path, source: Path, monkeypatch):
    monkeypatch.setattr(locks, "try_lock", lambda handle: None)
    made = obtain(GraphCache(folder), source, writing())
    assert obtain(GraphCache(folder), source) == made
