"""How much memory there is: what a container allows, not what its machine has."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from fastface.utils import memory

GB = 2**30


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def member_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def test_no_groups_no_limit(tmp_path: Path) -> None:
    assert memory._left_in_cgroups(tmp_path, tmp_path / "missing") == []
    assert memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == []


def test_a_container_of_version_2(tmp_path: Path) -> None:
    write(tmp_path, memory__max=4 * GB, memory__current=3 * GB)
    write(tmp_path, memory__stat=f"anon 5\ninactive_file {GB}")
    assert memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == [2 * GB]


def test_a_group_may_be_limited_by_those_above_it(tmp_path: Path) -> None:
    write(tmp_path / "user" / "session", memory__max="max", memory__current=GB)
    write(tmp_path / "user", memory__max=2 * GB, memory__current=GB)
    left = memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/user/session\n"))
    assert left == [GB]


def test_a_container_of_version_1(tmp_path: Path) -> None:
    """Which is told a path of its host that it does not see itself."""
    text = "5:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n"
    write(tmp_path / "memory", memory__limit_in_bytes=2 * GB, memory__usage_in_bytes=GB)
    write(tmp_path / "memory", memory__stat=f"cache 1\ntotal_inactive_file {GB // 2}")
    write(tmp_path / "cpu", memory__limit_in_bytes=1, memory__usage_in_bytes=0)
    left = memory._left_in_cgroups(tmp_path, member_of(tmp_path, text))
    assert left == [GB + GB // 2]


def test_more_than_the_limit_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, memory__max=GB, memory__current=2 * GB)
    assert memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == [0]


def test_the_tightest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: [2**62])
    assert 0 < memory.free_ram() <= machine
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: [5, 7])
    assert memory.free_ram() == 5


def test_memory_is_returned() -> None:
    memory.return_memory()  # what earlier tests left free would be taken without asking for more
    before = memory.resident_bytes()
    blocks = [bytearray(1000) for _ in range(100_000)]
    assert memory.resident_bytes() > before + 50e6
    kept = blocks[::1000]  # holes between them: without a trim malloc keeps what lies below
    del blocks
    memory.return_memory()
    assert memory.resident_bytes() < before + 30e6 and kept
