"""A result as a picture: images per second as bars, with quartiles, one panel a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from ...utils.errors import BackendUnavailable
from .report import case_title, row_title
from .weights import RANDOM_LABEL

#: Wide enough for a phone held upright, in inches and dots an inch: 1080 pixels.
_WIDTH_IN, _DPI = 7.2, 150
_BAR_IN, _PANEL_IN, _HEAD_IN, _FOOT_IN = 0.46, 1.25, 0.75, 0.45
#: Beyond this ratio short bars can't be told apart on a linear axis.
_LOG_BEYOND = 20.0
_TITLE_CHARACTERS = 60
_OURS, _VARIANT, _PEERS, _UNFIT = "#2a7f62", "#9ccdb9", "#8a8f98", "#c2410c"
_NOTE_CHARACTERS = 100


def plotting() -> tuple[Any, Any]:
    """What of matplotlib draws a chart: `FigureCanvasAgg` and `Figure`.

    Ask before you measure: a measurement without its chart is lost.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable(
            "the chart is drawn by matplotlib, which is not installed; "
            "run `pip install matplotlib` in ComfyUI's Python"
        ) from error
    return FigureCanvasAgg, Figure


def draw_chart(result: Mapping[str, Any]) -> np.ndarray:
    """Draws all cases of a result.

    Args:
        result: As `schema.json` describes it.

    Returns:
        `[H,1080,3]` uint8 RGB.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    canvas_class, figure_class = plotting()
    panels = [
        (case, [row for row in case["rows"] if row["state"] == "measured"])
        for case in result["cases"]
    ]
    heights = [_PANEL_IN + _BAR_IN * max(1, len(rows)) for _, rows in panels]
    height = _HEAD_IN + _FOOT_IN + sum(heights)
    # No pyplot: its figures are global, and ComfyUI runs other nodes that use it.
    figure = figure_class(figsize=(_WIDTH_IN, height), dpi=_DPI, facecolor="white")
    canvas = canvas_class(figure)
    top = height - _HEAD_IN
    for (case, rows), inches in zip(panels, heights, strict=True):
        bottom = (top - inches + 0.75) / height
        axes = figure.add_axes((0.31, bottom, 0.64, (inches - _PANEL_IN) / height))
        _draw_case(axes, case, rows)
        top -= inches
    _write_around(figure, result, height)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_case(axes: Any, case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    what, size = case_title(case).rsplit(" (", 1)
    # Over the whole panel, names on the left included: long titles need the room.
    title = "\n".join([*wrap(what, _TITLE_CHARACTERS), f"({size}"])
    axes.set_title(title, fontsize=10.5, fontweight="bold", x=0.28)
    if not rows:
        axes.text(0.5, 0.5, "nobody could be measured", ha="center", va="center", fontsize=10)
        axes.set_axis_off()
        return
    rows = sorted(rows, key=lambda row: row["seconds"]["median"], reverse=True)
    batch = case["batch"]
    speeds = np.array([batch / row["seconds"]["median"] for row in rows])
    ends = np.array([[batch / row["seconds"][name] for name in ("q75", "q25")] for row in rows])
    errors = np.abs(ends - speeds[:, None]).T
    places = np.arange(len(rows))
    axes.barh(
        places,
        speeds,
        xerr=errors,
        height=0.62,
        color=[_colour(row) for row in rows],
        error_kw={"elinewidth": 1.4, "capsize": 3, "ecolor": "#222222"},
    )
    axes.set_yticks(places, [row_title(row) for row in rows], fontsize=9.5)
    is_log = speeds.max() / speeds.min() > _LOG_BEYOND
    if is_log:
        axes.set_xscale("log")
        # Names of values take a fifth of the width, however many decades that is.
        low, high = np.log10(speeds.min() / 2), np.log10(ends.max())
        axes.set_xlim(10**low, 10 ** (low + (high - low) * 1.45))
    else:
        axes.set_xlim(0, ends.max() * 1.45)
    for place, row, end in zip(places, rows, ends.max(axis=1), strict=True):
        axes.annotate(
            _value(row, batch),
            (end, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
        )
    axes.set_xlabel(f"images per second{', log scale' if is_log else ''}", fontsize=9.5)
    axes.tick_params(axis="x", labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(row: Mapping[str, Any]) -> str:
    if row["parity"] and row["parity"]["verdict"] == "unfit":
        return _UNFIT
    if row["variant"]:
        return _VARIANT
    return _OURS if row["ours"] else _PEERS


def _value(row: Mapping[str, Any], batch: int) -> str:
    speed = batch / row["seconds"]["median"]
    text = f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}"
    if not row["times_as_fast"]:
        return text
    times = row["times_as_fast"]["median"]
    return f"{text}  ({times:.0f}x)" if times >= 10 else f"{text}  ({times:.2g}x)"


def _write_around(figure: Any, result: Mapping[str, Any], height: float) -> None:
    random = result["weights"]["random"]
    title = f"{result['weights']['name']}{f' · {RANDOM_LABEL}' if random else ''}"
    figure.text(0.5, 1 - 0.28 / height, title, ha="center", va="center", fontsize=13, weight="bold")
    machine = result["machine"]
    hardware = ", ".join(machine["gpus"]) or f"{machine['cpu']}, {machine['cores']} cores"
    figure.text(
        0.5,
        1 - 0.55 / height,
        f"{hardware} · {result['made'][:10]}",
        ha="center",
        va="center",
        fontsize=9,
        color="#444444",
    )
    notes = [
        "green: FastFace · grey: others · orange: wrong answers · x: times insightface",
        "bars: medians, whiskers: quartiles",
    ]
    if result["noise"]:
        noise = f"NOISY MACHINE: {result['noise'][0]}"
        notes.append(noise[:_NOTE_CHARACTERS])
    figure.text(
        0.5, 0.1 / height, "\n".join(notes), ha="center", va="bottom", fontsize=8, color="#444444"
    )
