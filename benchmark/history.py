"""Earlier runs, and what has become slower since."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..utils import host
from ..utils.errors import FileError
from ..utils.files import append_line
from .result_text import case_title

_log = logging.getLogger("FastFace")

#: A change of the median below this is no change, however narrow the quartiles.
_LEAST_CHANGE = 0.05
#: Quartiles of fewer rounds say nothing about noise.
_FEWEST_ROUNDS = 5
#: What a line that is no whole result raises.
_DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
#: Settings without influence on what a row measures: rows are compared with rows.
_FREE_SETTINGS = frozenset(
    {"contestants", "rounds", "jobs", "batches", "image_sizes_hw", "variants"}
)


def history_file() -> Path:
    """Where runs are kept, one JSON object a line."""
    return host.cache_folder() / "benchmarks.jsonl"


def remember(result: dict[str, Any], file: Path) -> None:
    """Adds `comparison` with the last run of its kind to a result, and the result to the file.

    A file that can't be read or written to is named in the log: what was measured is worth more. So
    is a line that is damaged, and those before and after it count.
    """
    line = json.dumps(result, separators=(",", ":"))
    earlier = last_like(result, file)
    result["comparison"] = compare_runs(earlier, result) if earlier else None
    try:
        append_line(file, line)
    except FileError as error:
        _log.warning("this run is not remembered: %s", error)


def last_like(result: Mapping[str, Any], file: Path) -> dict[str, Any] | None:
    """The latest run in a history file that can be compared with a result, if there is one."""
    for number, line in reversed(list(enumerate(_lines(file), start=1))):
        if not line.strip():
            continue
        try:
            earlier = json.loads(line)
            if earlier["schema"] == result["schema"] and _kind(earlier) == _kind(result):
                compare_runs(earlier, result)  # reads whatever of it is read later
                return earlier
        except (*_DAMAGED, ZeroDivisionError) as error:
            _log.warning("line %d of %s is damaged and left out: %r", number, file, error)
    return None


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        _log.warning("earlier runs in %s can't be read: %s", file, error)
        return []


def _kind(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must be equal for figures to be comparable: machine, weights, settings."""
    machine = result["machine"]
    settings = {k: v for k, v in result["settings"].items() if k not in _FREE_SETTINGS}
    return (
        machine["cpu"],
        machine["cores"],
        tuple(machine["gpus"]),
        result["weights"]["name"],
        json.dumps(settings, sort_keys=True),
    )


def compare_runs(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What has changed between two runs.

    Where both runs have a ratio to insightface, the ratios are compared, so that a machine that is
    slower today is no regression; else the times are.

    Returns:
        `with`: when the earlier run was made. `changes`: for each row that both have, the relative
        change of its time, and `slower`, `faster` or `same`: slower and faster only where medians
        differ by 5 % and the quartiles do not overlap, or `too few rounds` to tell.
        `regressions`: what became slower.
    """
    before = dict(_rows(earlier))
    few = min(run["settings"]["rounds"] for run in (earlier, later)) < _FEWEST_ROUNDS
    changes = []
    for (case, label), row in _rows(later):
        old = before.get((case, label))
        if old is None:
            continue
        change, beyond_noise = _change(old, row)
        verdict = "same"
        if few:
            verdict = "too few rounds"
        elif beyond_noise and abs(change) > _LEAST_CHANGE:
            verdict = "slower" if change > 0 else "faster"
        changes.append({"case": case, "label": label, "change": change, "verdict": verdict})
    slower = [change for change in changes if change["verdict"] == "slower"]
    return {
        "with": earlier["made"],
        "changes": changes,
        "regressions": [f"{change['case']}: {change['label']}" for change in slower],
    }


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for case in result["cases"]:
        for row in case["rows"]:
            if row["state"] == "measured":
                yield (case_title(case), row["label"]), row


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[float, bool]:
    """Relative change of the time taken, and whether the quartiles do not overlap."""
    if old["times_as_fast"] and new["times_as_fast"] and old["against"] == new["against"]:
        was, now = old["times_as_fast"], new["times_as_fast"]
        change = was["median"] / now["median"] - 1
    else:
        was, now = old["seconds"], new["seconds"]
        change = now["median"] / was["median"] - 1
    return change, now["q25"] > was["q75"] or now["q75"] < was["q25"]
