"""A result as a picture: images per second as bars, with quartiles, one panel a case.

Drawn by Pillow, which ComfyUI itself needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from ..utils.accuracy_report import UNFIT
from .axis import Axis, axis_for
from .result_text import case_title, row_title
from .weights import RANDOM_LABEL

#: Wide enough for a phone held upright, in pixels.
_WIDTH = 1080
_LEFT, _RIGHT = 335, 1030
_HEAD, _FOOT, _PANEL, _ROW, _BAR = 112, 100, 185, 69, 42
_TITLE_CHARACTERS, _NOTE_CHARACTERS = 62, 100
_OURS, _VARIANT, _PEERS, _UNFIT_COLOUR = "#2a7f62", "#9ccdb9", "#8a8f98", "#c2410c"
_BLACK, _GREY = "#222222", "#444444"
_TITLE, _TEXT, _SMALL = 25, 20, 17


class _Pen:
    """Draws on a white picture, in pixels from its left upper corner."""

    def __init__(self, height: int) -> None:
        from PIL import Image, ImageDraw

        self.picture = Image.new("RGB", (_WIDTH, height), "white")
        self._draw = ImageDraw.Draw(self.picture)
        self._fonts: dict[int, Any] = {}

    def text(
        self,
        place: tuple[float, float],
        text: str,
        anchor: str,
        size: int = _TEXT,
        fill: str = _BLACK,
    ) -> None:
        """Writes lines; `anchor` is where of them the place is: `lm` left and middle."""
        from PIL import ImageFont

        font = self._fonts.setdefault(size, ImageFont.load_default(size))
        align = {"l": "left", "m": "center", "r": "right"}[anchor[0]]
        lines = text.split("\n")
        step = size * 1.25
        first = place[1] - step * (len(lines) - 1) / 2
        for number, line in enumerate(lines):
            where = (place[0], first + number * step)
            self._draw.text(where, line, fill, font, anchor, align=align)

    def line(self, *ends: float) -> None:
        self._draw.line(ends, fill=_BLACK, width=2)

    def bar(self, box: tuple[float, float, float, float], colour: str) -> None:
        left, top, right, bottom = map(round, box)
        self._draw.rectangle((left, top, right, bottom), fill=colour)


def draw_chart(result: Mapping[str, Any]) -> np.ndarray:
    """Draws all cases of a result.

    Args:
        result: As `BenchmarkResult` describes it.

    Returns:
        `[H,1080,3]` uint8 RGB.
    """
    panels = [
        (case, [row for row in case["rows"] if row["state"] == "measured"])
        for case in result["cases"]
    ]
    heights = [_PANEL + _ROW * max(1, len(rows)) for _, rows in panels]
    pen = _Pen(_HEAD + _FOOT + sum(heights))
    _write_head(pen, result)
    top = _HEAD
    for (case, rows), height in zip(panels, heights, strict=True):
        _draw_case(pen, top, case, rows)
        top += height
    _write_foot(pen, top, result)
    return np.array(pen.picture)


def _draw_case(
    pen: _Pen, top: int, case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    what, size = case_title(case).rsplit(" (", 1)
    title = "\n".join([*wrap(what, _TITLE_CHARACTERS), f"({size}"])
    pen.text((_WIDTH / 2, top + 32), title, "mm", _TITLE)
    top += 75
    if not rows:
        pen.text((_WIDTH / 2, top + _ROW / 2), "nobody could be measured", "mm")
        return
    batch = case["batch"]
    rows = sorted(rows, key=lambda row: row["seconds"]["median"])
    speeds = [batch / row["seconds"]["median"] for row in rows]
    axis = axis_for(speeds, [batch / row["seconds"]["q25"] for row in rows])
    for number, (row, speed) in enumerate(zip(rows, speeds, strict=True)):
        middle = top + _ROW * number + _ROW / 2
        pen.text((_LEFT - 16, middle), row_title(row), "rm")
        box = (_LEFT, middle - _BAR / 2, _across(axis, speed), middle + _BAR / 2)
        pen.bar(box, _colour(row))
        low, high = (_across(axis, batch / row["seconds"][name]) for name in ("q75", "q25"))
        pen.line(low, middle, high, middle)
        for end in (low, high):
            pen.line(end, middle - 6, end, middle + 6)
        pen.text((max(high, box[2]) + 12, middle), _value(row, batch), "lm")
    _draw_axis(pen, axis, top, top + _ROW * len(rows))


def _draw_axis(pen: _Pen, axis: Axis, top: int, bottom: int) -> None:
    pen.line(_LEFT, top, _LEFT, bottom)
    pen.line(_LEFT, bottom, _RIGHT, bottom)
    for tick in axis.ticks:
        across = _across(axis, tick)
        pen.line(across, bottom, across, bottom + 7)
        pen.text((across, bottom + 22), f"{tick:,.10g}", "mm", _SMALL)
    unit = f"images per second{', log scale' if axis.is_log else ''}"
    pen.text(((_LEFT + _RIGHT) / 2, bottom + 52), unit, "mm")


def _across(axis: Axis, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * axis.place(value)


def _colour(row: Mapping[str, Any]) -> str:
    if row["parity"] and row["parity"]["verdict"] == UNFIT:
        return _UNFIT_COLOUR
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


def _write_head(pen: _Pen, result: Mapping[str, Any]) -> None:
    title = result["weights"]["name"]
    if result["weights"]["random"]:
        title = f"{title} · {RANDOM_LABEL}"
    pen.text((_WIDTH / 2, 42), title, "mm", 32)
    machine = result["machine"]
    hardware = ", ".join(machine["gpus"]) or f"{machine['cpu']}, {machine['cores']} cores"
    about = f"{hardware} · {result['made'][:10]}"
    pen.text((_WIDTH / 2, 82), about, "mm", _SMALL, fill=_GREY)


def _write_foot(pen: _Pen, top: int, result: Mapping[str, Any]) -> None:
    notes = [
        "green: FastFace · grey: others · orange: wrong answers · x: times insightface",
        "bars: medians, whiskers: quartiles",
    ]
    if result["noise"]:
        notes.append(f"NOISY MACHINE: {result['noise'][0]}"[:_NOTE_CHARACTERS])
    pen.text((_WIDTH / 2, top + _FOOT / 2), "\n".join(notes), "mm", _SMALL, fill=_GREY)
