"""The environment of `demo` and `test`: used again, brought up to date, or made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer import environment
from installer.environment import (
    EnvironmentFailed,
    Stamp,
    ensure,
    python_of,
    python_version,
    read_stamp,
    wanted_steps,
    what_to_do,
    write_stamp,
)
from installer.installation import OPTIONAL_MISSING

WANTED = {"torch": "a", "pack": "b"}


@pytest.mark.parametrize(
    ("stamp", "exists", "runs", "made_anew", "steps"),
    [
        (None, False, False, True, ["torch", "pack"]),
        (Stamp("3.11", dict(WANTED)), True, True, False, []),
        (Stamp("3.11", {"torch": "a"}), True, True, False, ["pack"]),
        (Stamp("3.11", {"torch": "a", "pack": "old"}), True, True, False, ["pack"]),
        (Stamp("3.11", dict(WANTED), "torch"), True, True, True, ["torch", "pack"]),
        (Stamp("3.10", dict(WANTED)), True, True, True, ["torch", "pack"]),
        (Stamp("3.11", dict(WANTED)), True, False, True, ["torch", "pack"]),
    ],
)
def test_what_an_environment_lacks(
    stamp: Stamp | None, exists: bool, runs: bool, made_anew: bool, steps: list[str]
) -> None:
    reason, to_take = what_to_do(stamp, exists, runs, "3.11", WANTED)
    assert bool(reason) is made_anew
    assert to_take == steps


def test_a_folder_of_somebody_else_is_left_alone() -> None:
    with pytest.raises(EnvironmentFailed, match="did not make it"):
        what_to_do(None, True, True, "3.11", WANTED)


def test_the_tests_want_more_than_the_demo() -> None:
    demo, test = wanted_steps(with_tests=False), wanted_steps(with_tests=True)
    assert demo["torch"] == test["torch"]
    assert set(demo.values()) != set(test.values())


@pytest.mark.parametrize(("windows", "path"), [(False, "bin/python"), (True, "Scripts/python.exe")])
def test_where_the_interpreter_is(windows: bool, path: str) -> None:
    assert python_of(Path("x"), windows) == Path("x") / path


@pytest.mark.parametrize(
    ("text", "working_on"),
    [(None, None), ("", "its stamp"), ("[]", "its stamp"), ('{"other": 1}', "its stamp")],
)
def test_a_damaged_stamp_counts_as_an_interruption(
    text: str | None, working_on: str | None, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / environment.STAMP).write_text(text)
    stamp = read_stamp(tmp_path)
    assert (stamp and stamp.working_on) == working_on


def test_a_stamp_is_read_as_it_was_written(tmp_path: Path) -> None:
    stamp = Stamp("3.12", {"torch": "x"}, "pack")
    write_stamp(tmp_path, stamp)
    assert read_stamp(tmp_path) == stamp
    assert [path.name for path in tmp_path.iterdir()] == [environment.STAMP]


class FakeWorld:
    """Makes environments that are an empty folder and steps that end as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.made = 0
        self.steps: list[str] = []
        self.ends: dict[str, int | BaseException] = {}
        monkeypatch.setattr(environment, "FOLDER", folder)
        monkeypatch.setattr(environment, "run_visibly", self.make)
        monkeypatch.setattr(environment, "take_step", self.take_step)
        monkeypatch.setattr(environment, "starts", lambda python: folder.exists())

    def make(self, command: list[str]) -> int:
        self.made += 1
        return 0

    def take_step(self, name: str, python: str) -> int:
        self.steps.append(name)
        end = self.ends.get(name, 0)
        if isinstance(end, BaseException):
            raise end
        return end

    def run(self, with_tests: bool = False) -> tuple[int, list[str]]:
        """How many environments `ensure` made and which steps it took."""
        self.made, self.steps = 0, []
        ensure(with_tests)
        return self.made, self.steps


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    return FakeWorld(tmp_path / ".env", monkeypatch)


def test_made_once_and_used_again(world: FakeWorld) -> None:
    assert world.run() == (1, ["torch", "pack"])
    assert world.run() == (0, [])
    assert world.run(with_tests=True) == (0, ["pack and test tools"])
    assert world.run(with_tests=True) == (0, [])
    assert world.run() == (0, [])


def test_an_interrupted_one_is_made_anew(world: FakeWorld) -> None:
    world.ends["torch"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run()
    (world.folder / "half a torch").touch()
    world.ends.clear()
    assert world.run() == (1, ["torch", "pack"])
    assert not (world.folder / "half a torch").exists()


def test_a_step_that_was_killed_counts_as_interrupted(world: FakeWorld) -> None:
    world.ends["pack"] = -9
    with pytest.raises(EnvironmentFailed, match="'pack' failed"):
        world.run()
    world.ends.clear()
    assert world.run() == (1, ["torch", "pack"])


def test_a_step_that_failed_is_tried_again_without_the_others(world: FakeWorld) -> None:
    world.ends["pack"] = 1
    with pytest.raises(EnvironmentFailed, match="'pack' failed"):
        world.run()
    world.ends.clear()
    assert world.run() == (0, ["pack"])


def test_a_missing_optional_package_is_tried_again_and_stops_nothing(world: FakeWorld) -> None:
    world.ends["pack"] = OPTIONAL_MISSING
    assert world.run() == (1, ["torch", "pack"])
    assert world.run() == (0, ["pack"])


def test_a_foreign_folder_survives(world: FakeWorld) -> None:
    world.folder.mkdir()
    (world.folder / "secrets").write_text("mine")
    with pytest.raises(EnvironmentFailed, match="rename it"):
        world.run()
    assert (world.folder / "secrets").read_text() == "mine"


def test_neither_venv_nor_uv_is_said(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "run_visibly", lambda command: 1)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentFailed, match=f"python{python_version()}-venv"):
        world.run()
