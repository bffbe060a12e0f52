"""Settings come from the environment: typed, with profiles; wrong ones are refused by name."""

from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fastface
from fastface.utils.errors import InvalidInput
from fastface.utils.packs import TASK_ORDER
from fastface.utils.settings import WrongSetting, settings, settings_or_defaults
from fastface.utils.settings.fields import PROFILES, VARIABLES, Settings, read, variable
from fastface.utils.settings.variables import PREFIX
from tests.utils.properties import steady

ROOT = Path(inspect.getfile(fastface)).parent


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_set_gives_the_defaults() -> None:
    assert settings().model_dump() == {
        name: field.default for name, field in Settings.model_fields.items()
    }


def test_a_variable_set_to_nothing_is_not_set(monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_DET_SIZE", "")
    assert settings().det_size == 640


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("models", os.pathsep.join(["/a", " /b "]), ("/a", "/b")),
        ("backends", "onnxruntime, torch,", ("onnxruntime", "torch")),
        ("heads", "detection,recognition", ("detection", "recognition")),
        ("det_size", "320", 320),
        ("prefer_gpu", "0", False),
        ("preload", "auto", ("auto",)),
        ("keep_loaded", "batch", "batch"),
        ("offload_timeout", "1.5", 1.5),
        ("gpu_mem_limit", "2GiB", 2**31),
        ("gpu_mem_limit", "1000", 1000),
        ("gpu_mem_limit", "1.5GB", 1_500_000_000),
        ("cache_mem_limit", " 64 mb ", 64_000_000),
        ("cache_mem_limit", "1k", 1000),
        ("cache_mem_limit", "0.5KiB", 512),
        ("cache_mem_limit", "0", 0),
        ("prefer_gpu", " no ", False),
        ("profile", " cpu", "cpu"),
        ("models", os.fsdecode(b"/packs/\xff"), (os.fsdecode(b"/packs/\xff"),)),
        ("preload", os.fsdecode(b"\xff,auto"), (os.fsdecode(b"\xff"), "auto")),
    ],
)
def test_values_are_typed(monkeypatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(variable(name), text)
    assert getattr(settings(), name) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("profile", "tiny", "'standard', 'low-memory' or 'cpu'"),
        ("heads", "recognition,eyes", "names of tasks: detection, "),
        ("det_size", "650", "a multiple of 32"),
        ("det_size", "0", "at least 32"),
        ("det_size", "8192", "at most 4096"),
        ("max_faces", "-1", "at least 0"),
        ("max_faces", "many", "a whole number"),
        ("prefer_gpu", "maybe", "0 or 1"),
        ("keep_loaded", "forever", "'idle' or 'batch'"),
        ("offload_timeout", "-1", "at least 0"),
        ("offload_timeout", "soon", "a number"),
        ("offload_timeout", "inf", "a finite number"),
        ("gpu_mem_limit", "lots", "a size such as 512MB or 2GB, with a point for fractions"),
        ("gpu_mem_limit", "1,5GB", "a size such as"),
        ("gpu_mem_limit", "-1", "a size such as"),
        ("gpu_mem_limit", "9" * 30, "a size such as"),
        ("cache_mem_limit", "64MB garbage", "a size such as"),
        ("cache_mem_limit", "1.5", "a size such as"),
        ("cache_mem_limit", "1.5XB", "a size such as"),
        ("cache_mem_limit", "1e3", "a size such as"),
        ("cache_mem_limit", "\u0661MB", "a size such as"),
        ("cache_results", "9" * 30, "at most 2147483647"),
        ("cache_crops_seconds", "1e400", "a finite number"),
        ("cache_results_seconds", "0", "more than 0"),
        ("det_size", "6_40", "a plain number"),
        ("torch_compile", "01", "0 or 1"),
        ("batch_size", "1.5", "a whole number"),
        ("threads", "-2", "at least 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch, name: str, text: str, expected: str) -> None:
    monkeypatch.setenv(variable(name), text)
    with pytest.raises(InvalidInput) as raised:
        settings()
    assert f"{variable(name)} is {text!r}, expected {expected}" in str(raised.value)


def test_all_wrong_values_are_named_at_once(monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_DET_SIZE", "1")
    monkeypatch.setenv("FASTFACE_THREADS", "x")
    with pytest.raises(InvalidInput, match=r"FASTFACE_DET_SIZE.*FASTFACE_THREADS"):
        settings()


@pytest.mark.parametrize("name", list(Settings.model_fields))
@steady(60)
@given(text=st.text(st.characters(exclude_characters="\0"), min_size=1))
@example(text="64MB garbage")
@example(text=os.fsdecode(b"\xff"))
@example(text="9" * 5000)
@example(text="{}")
def test_any_text_is_a_whole_value_or_refused_by_name(name: str, text: str) -> None:
    reading = read({variable(name): text})
    others = reading.settings.model_dump(exclude={name})
    if reading.wrong:
        assert list(reading.wrong) == [variable(name)]
        told = str(WrongSetting(reading.wrong))
        assert told.startswith(f"{variable(name)} is ") and ", expected " in told
        assert len(told) < 400 and told.encode()
        assert getattr(reading.settings, name) == Settings.model_fields[name].default
    elif name != "profile":
        assert others == Settings().model_dump(exclude={name})


def test_what_must_go_on_takes_a_wrong_variable_for_none(
    monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FASTFACE_CACHE_MEM_LIMIT", "garbage")
    monkeypatch.setenv("FASTFACE_MAX_FACES", "3")
    for _ in range(3):
        assert settings_or_defaults().cache_mem_limit == 64 << 20
        assert settings_or_defaults().max_faces == 3
    with pytest.raises(WrongSetting) as raised:
        settings()
    assert raised.value.variables == ("FASTFACE_CACHE_MEM_LIMIT",)
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.variables) == (str(raised.value), raised.value.variables)
    assert [record.getMessage() for record in caplog.records] == [
        f"what needs the settings can't run: {raised.value}"
    ]


def test_a_change_counts_from_the_next_use_on(monkeypatch) -> None:
    assert settings().max_faces == 0
    monkeypatch.setenv("FASTFACE_MAX_FACES", "3")
    assert settings().max_faces == 3
    assert settings() is settings()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_sets_what_is_not_set(monkeypatch, profile) -> None:
    monkeypatch.setenv("FASTFACE_PROFILE", profile)
    for name, value in PROFILES[profile].items():
        assert getattr(settings(), name) == value != Settings.model_fields[name].default
    for name in PROFILES[profile]:
        default = Settings.model_fields[name].default
        # An empty variable counts as none: who wants all tasks names them.
        wanted = TASK_ORDER if default == () else default
        monkeypatch.setenv(variable(name), _shown(wanted).strip("`"))
        assert getattr(settings(), name) == wanted


def test_the_documents_table_is_that_of_the_object() -> None:
    shown = (ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8")
    rows = [line for line in shown.splitlines() if line.startswith(f"| `{PREFIX}")]
    expected = [_row(name) for name in Settings.model_fields]
    assert rows == expected, "docs/SETTINGS.md should have:\n" + "\n".join(expected)


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    profiles = [PROFILES[profile].get(name, ...) for profile in ("low-memory", "cpu")]
    cells = ["" if value is ... else _shown(value) for value in profiles]
    meaning = field.description
    return f"| `{variable(name)}` | {_shown(field.default)} | {' | '.join(cells)} | {meaning} |"


def _shown(value: object) -> str:
    if value in ((), ""):
        return ""
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{int(value) if isinstance(value, bool) else value}`"
