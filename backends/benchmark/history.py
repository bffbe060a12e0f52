"""Earlier runs, and what has become slower since."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...utils import host
from .report import case_title

_log = logging.getLogger("FastFace")

#: A change of the median below this is no change, however narrow the quartiles.
_LEAST_CHANGE = 0.05
#: Quartiles of fewer rounds say nothing about noise.
_FEWEST_ROUNDS = 5
#: Settings without influence on what a row measures: rows are compared with rows.
_FREE_SETTINGS = frozenset(
    {"contestants", "rounds", "jobs", "batches", "image_sizes_hw", "variants"}
)


def history_file() -> Path:
    """Where runs are kept, one JSON object a line."""
    return host.cache_folder() / "benchmarks.jsonl"


def remember(result: dict[str, Any], file: Path) -> None:
    """Adds `comparison` with the last run of its kind to a result, and the result to the file.

    A file that can't be written to is named in the log: what was measured is worth more.
    """
    earlier = last_like(result, file)
    line = json.dumps(result, separators=(",", ":")) + "\n"
    result["comparison"] = compare_runs(earlier, result) if earlier else None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(line)
    except OSError as error:
        _log.warning("this run is not remembered, because %s can't be written: %s", file, error)


def last_like(result: Mapping[str, Any], file: Path) -> dict[str, Any] | None:
    """The latest run in a history file that can be compared with a result, if there is one."""
    if not file.is_file():
        return None
    found = None
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            earlier = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line that was cut off when the disk was full
        if earlier.get("schema") == result["schema"] and _kind(earlier) == _kind(result):
            found = earlier
    return found


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
