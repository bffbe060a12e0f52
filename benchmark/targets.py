"""The speeds and parities this pack set out to reach, and what was measured of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..utils.accuracy_report import FIT, UNFIT
from ..utils.precision import Precision
from .result_text import case_title

Rows = Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes:
        what: For people.
        must: What has to be reached, and what is aimed at, for people.
        reaches: Whether a figure does.
        shown: A figure for people.
        figure: The figure of a row of a case in a result, or None where it is no such row.
        best: Chooses among several figures: `max` or `min`.
        has_stages: Whether the stages of a call explain the figure.
    """

    what: str
    must: str
    reaches: Callable[[float], bool]
    shown: Callable[[float], str]
    figure: Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], float | None]
    best: Callable[[Sequence[float]], float] = max
    has_stages: bool = True


def _times(result: Mapping[str, Any], row: Mapping[str, Any], against: str) -> float | None:
    times = row["times_as_fast"]
    return times["median"] if times and row["ours"] and row["against"].startswith(against) else None


def _on_cpu(job: str, variant: str, pack: str = "") -> Any:
    def figure(result: Any, case: Any, row: Any) -> float | None:
        fits = (case["job"], row["variant"], row["device"]) == (job, variant, "cpu")
        named = pack in result["weights"]["name"]
        return _times(result, row, "insightface cpu") if fits and named else None

    return figure


def _over_network(result: Any, case: Any, row: Any) -> float | None:
    """Detection's time as a multiple of the same backend's bare network's."""
    if case["job"] != "detect" or row["variant"] or not row["ours"] or row["device"] != "cpu":
        return None
    single = case["batch"] == 1 and row["over_network"]
    return row["over_network"]["median"] if single else None


def _gpu_batch(result: Any, case: Any, row: Any) -> bool:
    wanted = ("embed", 32, [640, 640], "fp16")
    got = (case["job"], case["batch"], case["image_size_hw"], row["precision"])
    return got == wanted and row["ours"] and row["device"].startswith("cuda")


def _gpu_times(result: Any, case: Any, row: Any) -> float | None:
    return _times(result, row, "insightface cuda") if _gpu_batch(result, case, row) else None


def _gpu_images(result: Any, case: Any, row: Any) -> float | None:
    return row["images_per_s"] if _gpu_batch(result, case, row) else None


def _to_host(result: Any, case: Any, row: Any) -> float | None:
    if not row["to_host"] or not row["ours"] or row["variant"]:
        return None
    # Beyond what results take: boxes, scores, points and 512 numbers a face.
    results = (row["faces"] or 0) * 4 * (4 + 1 + 10 + 2 + 512)
    return max(0.0, row["to_host"]["total"] - results) / case["batch"]


def _import(result: Any, case: Any, row: Any) -> float | None:
    return result["import_s"]["median"] if result["import_s"] else None


def _unfit(precision: Precision) -> Any:
    """1 for a row whose answers are unfit, 0 for one that is fit."""

    def figure(result: Any, case: Any, row: Any) -> float | None:
        judged = row["parity"] and row["parity"]["verdict"] in (FIT, UNFIT)
        if not row["ours"] or not judged or row["precision"] != precision:
            return None
        return float(row["parity"]["verdict"] == UNFIT)

    return figure


def _multiple(value: float) -> str:
    return f"{value:.2f}x"


def _fitness(value: float) -> str:
    return "all rows fit" if value == 0 else "a row is unfit"


TARGETS = (
    Target(
        "same faces and order as the reference in fp32, box 2 px, points 1 px, cosine 0.999",
        "all",
        lambda value: value == 0,
        _fitness,
        _unfit("fp32"),
    ),
    Target("the same in fp16 on a GPU", "all", lambda value: value == 0, _fitness, _unfit("fp16")),
    Target(
        "CPU, InstantID's embedding and keypoints, antelopev2-shaped pack",
        "4x, aim 10x",
        lambda value: value >= 4,
        _multiple,
        _on_cpu("instantid", "", "antelopev2"),
    ),
    Target(
        "CPU, get() with detection and recognition all read",
        "1.5x, aim 2x",
        lambda value: value >= 1.5,
        _multiple,
        _on_cpu("get", ""),
    ),
    Target(
        "CPU, detection over its bare network, lower is better",
        "1.15x, aim 1.05x",
        lambda value: value <= 1.15,
        _multiple,
        _over_network,
        min,
    ),
    Target(
        "the same image again",
        "100x, aim 1000x",
        lambda value: value >= 100,
        _multiple,
        _on_cpu("get", "again"),
    ),
    Target(
        "GPU, batch 32, 640, fp16, against insightface with ONNX Runtime CUDA",
        "20x",
        lambda value: value >= 20,
        _multiple,
        _gpu_times,
    ),
    Target(
        "GPU, the same, images per second",
        "aim 3,500",
        lambda value: value >= 3500,
        lambda value: f"{value:.0f}",
        _gpu_images,
    ),
    Target(
        "GPU, bytes copied to the host for an image, beside results",
        "0",
        lambda value: value == 0,
        lambda value: f"{value:.0f}",
        _to_host,
        min,
    ),
    Target(
        "import of the pack beyond torch, milliseconds",
        "100, aim 40",
        lambda value: value <= 0.1,
        lambda value: f"{value * 1000:.0f}",
        _import,
        min,
        has_stages=False,
    ),
)


def targets_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Every target with what the results say of it, as a Markdown table.

    A target has a line for each pack it was measured with. For what was missed, the last column
    says where the time went, as far as stages are marked.
    """
    lines = ["| what | must | measured | | |", "| --- | --- | --- | --- | --- |"]
    for target in TARGETS:
        measured = list(measured_of(target, results))
        if not measured:
            lines.append(f"| {target.what} | {target.must} | not measured here | | |")
        for value, who, limits in measured:
            reached = target.reaches(value)
            verdict = "reached" if reached else "**missed**"
            why = limits if not reached and target.has_stages else ""
            shown = f"{target.shown(value)}: {who}"
            lines.append(f"| {target.what} | {target.must} | {shown} | {verdict} | {why} |")
    return "\n".join(lines)


def measured_of(
    target: Target, results: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[float, str, str]]:
    """The best figure of each pack, who has it, and what limits them."""
    by_pack: dict[str, list[tuple[float, str, str]]] = {}
    for result in results:
        for case in result["cases"]:
            for row in case["rows"]:
                if row["state"] != "measured":
                    continue
                value = target.figure(result, case, row)
                if value is not None:
                    label = result["weights"]["label"]
                    who = f"{row['label']}, {case_title(case)}, {label}"
                    by_pack.setdefault(label, []).append((value, who, _limits(row)))
    for found in by_pack.values():
        best = target.best([value for value, _, _ in found])
        yield next(entry for entry in found if entry[0] == best)


def _limits(row: Mapping[str, Any]) -> str:
    if row["parity"] and row["parity"]["verdict"] == UNFIT:
        return "; ".join(row["parity"]["reasons"])
    stages = sorted(row["stages"].items(), key=lambda item: -item[1])[:3]
    return "time: " + ", ".join(f"{name} {share:.0%}" for name, share in stages) if stages else ""
