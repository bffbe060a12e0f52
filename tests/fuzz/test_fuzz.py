"""A few seeded cases of every target, and what the supervisor makes of targets gone wrong."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter

import pytest

from tests.fuzz.command import TARGETS, as_table, main, target_names
from tests.fuzz.outcomes import BARE, CRASH, FINE, HANG
from tests.fuzz.supervisor import Results, supervise

BAD = "tests.fuzz.bad_targets"
#: Of each target; those whose cases take longest get fewer.
CASES = 40
FEWER = {"archives": 20, "cache_files": 10, "calls": 12, "engines": 8, "graphs": 8, "routes": 20}


@pytest.mark.parametrize("name", target_names())
def test_no_case_ends_in_a_bare_error(name: str) -> None:
    results = supervise(f"{TARGETS}.{name}", seed=1, cases=FEWER.get(name, CASES))
    assert not results.faults, "\n".join(outcome.text for outcome in results.faults.values())
    assert results.counts.total() == FEWER.get(name, CASES)


def test_all_parts_are_tried() -> None:
    parts = "archives cache_files calls engines graphs headers manifests nodes routes settings"
    assert set(parts.split()) <= set(target_names())


def test_bare_errors_are_counted_and_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "raises", "--seed", "3", "--seconds", "0.1"], BAD) == 1
    printed = capsys.readouterr().out
    assert "KeyError at tests/fuzz/bad_targets/raises.py" in printed
    assert printed.count("python install.py") == 1  # the same error once
    _, cases, fine, named, bare, *others, _ = printed.splitlines()[-1].replace(",", "").split()
    assert int(cases) == int(fine) + int(named) + int(bare) and others == ["0", "0"]
    assert 0 <= int(named) - int(bare) <= 1 and int(bare) > 1
    command = next(line for line in printed.splitlines() if "install.py" in line)
    words = shlex.split(command)
    assert words == [
        "python",
        "install.py",
        "fuzz",
        "--only",
        "raises",
        "--seed",
        "3",
        "--case",
        "2",
    ]
    # That case comes first this time, which for this target makes it another one.
    assert main(words[3:], BAD) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["raises", "1", "0", "1"]


def test_a_crash_is_counted_and_the_next_case_tried() -> None:
    results = supervise(f"{BAD}.aborts", seed=0, cases=5)
    assert results.counts == {FINE: 4, CRASH: 1}
    (outcome,) = results.faults.values()
    assert outcome.number == 2
    assert outcome.error == "SIGABRT" or sys.platform == "win32"
    assert outcome.place.startswith("tests/fuzz/bad_targets/aborts.py:")
    assert "Fatal Python error: Aborted" in outcome.text


def test_a_hang_is_ended_and_the_next_case_tried() -> None:
    began = time.monotonic()
    results = supervise(f"{BAD}.hangs", seed=0, cases=3, case_seconds=1)
    assert time.monotonic() - began < 60
    assert results.counts == {FINE: 2, HANG: 1}
    (outcome,) = results.faults.values()
    assert outcome.number == 1
    assert "in run" in outcome.text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and seen on Linux alone")
def test_memory_is_bounded() -> None:
    results = supervise(f"{BAD}.grows", seed=0, cases=3)
    assert [outcome.error for outcome in results.faults.values()] == ["Growth", "MemoryError"]
    assert results.counts == {BARE: 2, FINE: 1}


def test_a_bad_exit_is_a_crash() -> None:
    results = supervise(f"{BAD}.ends_badly", seed=0, cases=2)
    assert results.counts == {FINE: 2, CRASH: 1}
    (outcome,) = results.faults.values()
    assert outcome.error.endswith("at exit")


def test_a_target_that_cannot_be_made_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "cannot_start", "--seed", "0", "--case", "0"], BAD) == 1
    assert "there is no place for it" in capsys.readouterr().out


def test_nothing_of_the_user_is_touched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTFACE_MODELS", "mine")
    assert main(["--only", "touches", "--seed", "0", "--case", "0"], BAD) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["touches", "1", "1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nothing"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--long", "--seconds", "3"],
        ["--case", "1"],
        ["--case", "1", "--seed", "1"],
        ["--case", "1", "--seed", "1", "--only", "raises", "hangs"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(arguments, BAD)
    assert ending.value.code == 2


def test_the_table_has_a_row_for_all() -> None:
    results = [Results(name, Counter({FINE: 2, HANG: 1000})) for name in ("one", "two")]
    assert [line.split() for line in as_table(results).splitlines()[1:]] == [
        ["one", "1,002", "2", "0", "0", "0", "1,000", "0"],
        ["two", "1,002", "2", "0", "0", "0", "1,000", "0"],
        ["all", "2,004", "4", "0", "0", "0", "2,000", "0"],
    ]
