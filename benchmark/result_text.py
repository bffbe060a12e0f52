"""A result as text for a node and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..utils.accuracy_report import UNFIT
from .workloads import JOBS, VARIANTS

Row = Mapping[str, Any]

#: Columns of every table: title and what stands in it.
_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("contestant", lambda row: row["label"]),
    ("ms", lambda row: _ms(row["seconds"]["median"])),
    ("quartiles", lambda row: f"{_ms(row['seconds']['q25'])} to {_ms(row['seconds']['q75'])}"),
    ("p95", lambda row: _ms(row["seconds"]["p95"])),
    ("images/s", lambda row: _figure(row["images_per_s"])),
    ("faces/s", lambda row: "-" if row["faces"] is None else _figure(row["faces_per_s"])),
    ("times as fast", lambda row: _times(row["times_as_fast"])),
    ("parity", lambda row: verdict(row)),
    ("first call s", lambda row: f"{row['first_call_s']:.1f}"),
    ("RAM MB", lambda row: _megabytes(row["memory"]["ram_bytes"])),
)
#: Columns for GPUs, shown where a row has such a figure.
_GPU_COLUMNS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("device_seconds", "ms on the GPU", lambda row: _ms(row["device_seconds"])),
    ("to_host", "to host, bytes an image", lambda row: _to_host(row)),
    ("memory", "VRAM MB", lambda row: _megabytes(row["memory"]["vram_bytes"])),
)


def as_text(result: Mapping[str, Any]) -> str:
    """The result for a node's text output: aligned columns."""
    return "\n".join(_parts(result, _aligned, heading="{}"))


def as_markdown(result: Mapping[str, Any]) -> str:
    """The result for people, with tables that GitHub shows."""
    return "\n".join(_parts(result, _piped, heading="### {}")) + "\n"


def _parts(
    result: Mapping[str, Any],
    table: Callable[[Sequence[Sequence[str]]], str],
    heading: str,
) -> list[str]:
    parts = [*_about(result), ""]
    for case in result["cases"]:
        rows = case["rows"]
        measured = [row for row in rows if row["state"] == "measured"]
        parts += [heading.format(case_title(case)), ""]
        if result["weights"]["random"]:
            parts += [f"{result['weights']['label']}.", ""]
        if measured:
            parts += [table(_cells(measured, case)), ""]
            parts += [*_notes(measured), ""]
        for row in rows:
            if row["state"] != "measured":
                parts.append(f"{row['label']}: {row['state']}: {row['reason']}")
        parts.append("")
    parts += _changes(result)
    return parts


def case_title(case: Mapping[str, Any]) -> str:
    """Job, batch and size of a case."""
    height, width = case["image_size_hw"]
    images = "1 image" if case["batch"] == 1 else f"{case['batch']} images at a time"
    return f"{case['title']} ({images}, {width} x {height})"


def _about(result: Mapping[str, Any]) -> list[str]:
    machine, settings = result["machine"], result["settings"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    noise = "; ".join(result["noise"])
    lines = [
        f"made: {result['made']}",
        f"machine: {machine['cpu']}, {machine['cores']} cores, {machine['ram_gb']} GB, {gpus}, "
        f"{machine['system']}, Python {machine['python']}",
        f"versions: {packages}",
        f"weights: {result['weights']['label']}",
        f"{settings['rounds']} rounds in random order, each contestant in its own process; "
        f"det_size {settings['det_size']}; images: {settings['source']}",
        f"THE MACHINE WAS NOISY: {noise}" if noise else "the machine was quiet",
    ]
    if result["command"]:
        lines.append(f"command: {result['command']}")
    return [f"- {line}" for line in lines]


def _cells(rows: Sequence[Row], case: Mapping[str, Any]) -> list[list[str]]:
    columns = list(_COLUMNS)
    columns += [
        (title, show)
        for name, title, show in _GPU_COLUMNS
        if any(row["device_seconds"] is not None and row[name] for row in rows)
    ]
    if any(row["share_of_floor"] for row in rows):
        columns.append(("share of floor", lambda row: _share(row["share_of_floor"])))
    rows = [{**row, "batch": case["batch"]} for row in rows]
    return [[title for title, _ in columns], *([show(row) for _, show in columns] for row in rows)]


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    against = sorted({row["against"] for row in rows if row["against"]})
    if against:
        notes.append(f"Times as fast: as {', '.join(against)}, round by round.")
    for row in rows:
        ran = ", ".join(f"{task}: {where}" for task, where in row["runs_on"].items())
        notes.append(f"{row['label']} ran on {ran}")
        if row["stages"]:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in row["stages"].items())
            notes.append(f"{row['label']} spent its time on {shares}")
        if row["own_weights"]:
            notes.append(f"{row['label']} has weights of its own: {row['own_weights']}")
        if row["parity"] and row["parity"]["verdict"] == UNFIT:
            notes.append(f"{row['label']} is unfit: {'; '.join(row['parity']['reasons'])}")
    return [f"- {note}" for note in notes]


def _changes(result: Mapping[str, Any]) -> list[str]:
    comparison = result.get("comparison")
    if not comparison:
        return []
    lines = [f"Compared with the run of {comparison['with']}:"]
    lines += [
        f"- {change['case']}, {change['label']}: {change['change']:+.0%} time, {change['verdict']}"
        for change in comparison["changes"]
    ]
    if comparison["regressions"]:
        lines.append(f"REGRESSIONS: {'; '.join(comparison['regressions'])}")
    return lines


def verdict(row: Row) -> str:
    """Parity in a few words."""
    parity = row["parity"]
    if parity is None or parity["verdict"] == "none":
        return "-"
    if parity["verdict"] == "reference":
        return "reference"
    figures = [f"{parity['matched']}/{parity['faces']} faces"]
    for name, text in (
        ("box_px", "box {:.2f} px"),
        ("landmark_px", "points {:.2f} px"),
        ("cosine", "cos {:.5f}"),
    ):
        if parity[name] is not None:
            figures.append(text.format(parity[name]))
    return f"{parity['verdict'].upper() if parity['reasons'] else 'fit'}: {', '.join(figures)}"


def row_title(row: Row) -> str:
    """A row's name in two lines at most, for the chart."""
    title = " ".join((row["contestant"], row["device"], row["precision"]))
    below = VARIANTS[row["variant"]] or (row["own_weights"] and f"weights: {row['own_weights']}")
    return f"{title}\n{below}" if below else title


def jobs_text() -> str:
    """The jobs and what they are, for help texts."""
    return "; ".join(f"{name}: {job.title}" for name, job in JOBS.items())


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else _figure(seconds * 1000)


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(times: Mapping[str, float] | None) -> str:
    if times is None:
        return "-"
    return f"{times['median']:.2f} ({times['q25']:.2f} to {times['q75']:.2f})"


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _to_host(row: Row) -> str:
    copies = row["to_host"]
    return "-" if copies is None else f"{copies['total'] / row['batch']:.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _piped(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
