"""Rows of a result, made of what a contestant's process answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..utils.errors import FastFaceError
from ..utils.packs import ModelFile, ModelPack
from ..utils.parity import Found
from .plan import PlannedRun
from .result import RowState
from .roofline import operations
from .timing import quartiles, ratios, summary
from .workloads import NETWORK

Row = dict[str, Any]
#: What a process answered to `turn`, once a round.
Turns = Sequence[Mapping[str, Any]]

#: Speed is given as a multiple of this contestant's.
BASELINE = "insightface"


def reasoned_row(entry: PlannedRun, state: RowState, reason: str) -> Row:
    """A row without figures: `missing` or `failed` with the reason, or yet to be `measured`."""
    return {
        "contestant": entry.contestant,
        "label": entry.label,
        "ours": entry.is_ours,
        "device": entry.device,
        "precision": entry.precision,
        "variant": entry.variant,
        "own_weights": entry.own_weights,
        "state": state,
        "reason": reason,
        "runs_on": {},
        "first_call_s": None,
        "seconds": None,
        "device_seconds": None,
        "images_per_s": None,
        "faces": None,
        "faces_per_s": None,
        "memory": None,
        "stages": {},
        "to_host": None,
        "parity": None,
        "against": None,
        "times_as_fast": None,
        "over_network": None,
        "share_of_floor": None,
    }


def finished_row(
    entry: PlannedRun,
    turns: Turns,
    inspected: Mapping[str, Any],
    found: Sequence[Found],
    batch: int,
) -> Row:
    """The figures of a row.

    Args:
        entry: Who.
        turns: One a round.
        inspected: What `inspect` answered.
        found: What was found in each image.
        batch: Images a call.
    """
    seconds = summary([turn["seconds"] for turn in turns])
    on_device = [value for turn in turns for value in turn["device_seconds"]]
    faces = None
    if entry.variant != NETWORK:
        faces = sum(len(image["boxes"]) for image in found)
    return {
        "runs_on": inspected["runs_on"],
        "seconds": seconds,
        "device_seconds": quartiles(on_device)["median"] if on_device else None,
        "images_per_s": batch / seconds["median"],
        "faces": faces,
        "faces_per_s": None if faces is None else faces / seconds["median"],
        "memory": inspected["memory"],
        "stages": inspected["stages"],
        "to_host": inspected["to_host"],
    }


def with_ratios(
    rows: Sequence[Row], turns: Mapping[int, Turns], entries: Sequence[PlannedRun]
) -> None:
    """Adds to each row how many times as fast as insightface it is.

    That on the same device is the measure; where it did not run there, the one that ran. Rows whose
    own bare network was measured too get the multiple of its time that they take.
    """
    places = {entry: place for place, entry in enumerate(entries)}
    for place in turns:
        network = places.get(replace(entries[place], variant=NETWORK))
        if network is not None and network != place and network in turns:
            pair = [[turn["seconds"] for turn in turns[number]] for number in (place, network)]
            rows[place]["over_network"] = ratios(*pair)
    bases = [
        place
        for place, entry in enumerate(entries)
        if entry.contestant == BASELINE and not entry.variant and rows[place]["state"] == "measured"
    ]
    if not bases:
        return
    for place, row in enumerate(rows):
        if row["state"] != "measured" or place in bases:
            continue
        base = next(
            (other for other in bases if entries[other].device == entries[place].device), bases[0]
        )
        times = [[turn["seconds"] for turn in turns[number]] for number in (base, place)]
        row["against"] = rows[base]["label"]
        row["times_as_fast"] = ratios(*times)


def roofline_seconds(
    case: Mapping[str, Any], row: Row, pack: ModelPack, det_size: int, rate: float
) -> float | None:
    """Seconds that the networks' bare arithmetic takes, where the case is no more than that.

    Args:
        case: Its job and batch.
        row: Its variant and number of faces.
        pack: The networks.
        det_size: Side of the detector's input.
        rate: Operations a second of the device.

    Returns:
        None for jobs that run networks several times, or not at all.
    """
    if case["job"] not in ("detect", "embed"):
        return None
    try:
        work = _operations(pack.model("detection"), det_size) * case["batch"]
        if case["job"] == "embed" and row["variant"] != NETWORK:
            work += _operations(pack.model("recognition"), det_size) * row["faces"]
    except FastFaceError:
        return None  # without the onnx package nobody can count
    return work / rate


@lru_cache(maxsize=16)
def _operations(model: ModelFile, det_size: int) -> int:
    return operations(model, model.fixed_size_wh or (det_size, det_size))
