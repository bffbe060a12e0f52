"""The quality report: a table, and pictures of the worst faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..utils.parity import (
    LEAST_COSINE,
    MOST_BOX_PX,
    MOST_LANDMARK_PX,
    MOST_NORM_ERROR,
    Found,
    badness,
    match,
)

_REFERENCE_COLOUR, _OTHER_COLOUR = (60, 220, 90), (255, 70, 40)
#: Pictures show this much around a face, and are this large.
_MARGIN = 0.6
_PICTURE_PX = 720
_LINE_PX, _DOT_PX, _TEXT_PX = 3, 6, 22
_MOST_PICTURES = 6
#: Differences that a picture can't show are not drawn.
_VISIBLE_PX, _NOTABLE_COSINE = 0.05, 0.99999


def quality_markdown(report: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The report as Markdown; `pictures` are file names beside it."""
    lines = [
        f"Weights: {report['weights']}. Photos: {len(report['photos'])}.",
        f"Fit is: the same faces in the same order, boxes within {MOST_BOX_PX:g} px, landmarks "
        f"within {MOST_LANDMARK_PX:g} px, cosine at least {LEAST_COSINE:g}, lengths of embeddings "
        f"within {MOST_NORM_ERROR:.0%}.",
        "",
        "| way | against | faces | matched | box px | landmark px | cosine | length | worst photo "
        "| verdict |",
        "|" + " --- |" * 10,
    ]
    for row in report["rows"]:
        if row["state"] != "compared":
            dashes = " | ".join("-" * 7)
            lines.append(
                f"| {row['label']} | {row['against']} | {dashes} | {row['state']}: "
                f"{row['reason']} |"
            )
            continue
        figures = [
            row["label"],
            row["against"],
            str(row["faces"]),
            str(row["matched"]),
            _shown(row["box_px"], "{:.3f}"),
            _shown(row["landmark_px"], "{:.3f}"),
            _shown(row["cosine"], "{:.6f}"),
            _shown(row["norm_error"], "{:.3%}"),
            row["worst_photo"],
            row["verdict"] if not row["reasons"] else f"UNFIT: {'; '.join(row['reasons'])}",
        ]
        lines.append(f"| {' | '.join(figures)} |")
    lines += ["", *(f"![{name}]({name})" for name in pictures)]
    return "\n".join(lines) + "\n"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def worst_pictures(
    report: Mapping[str, Any], photos: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and picture `[H,W,3]` uint8 RGB of the worst face of the worst rows, worst first.

    Rows whose largest difference nobody could see are left out.
    """
    rows = [row for row in report["rows"] if row["state"] == "compared" and _is_notable(row)]
    rows.sort(key=badness, reverse=True)
    for number, row in enumerate(rows[:_MOST_PICTURES], start=1):
        yield f"worst_{number}.png", _picture(row, photos[row["worst_photo"]])


def _is_notable(row: Mapping[str, Any]) -> bool:
    return bool(
        row["reasons"]
        or (row["box_px"] or 0) > _VISIBLE_PX
        or (row["landmark_px"] or 0) > _VISIBLE_PX
        or (row["cosine"] or 1) < _NOTABLE_COSINE
    )


def _picture(row: Mapping[str, Any], photo: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    reference, other = row["worst"]
    left, top, right, bottom = _window(_worst_box(reference, other), photo.shape)
    scale = _PICTURE_PX / max(right - left, bottom - top)
    size = (round((right - left) * scale), round((bottom - top) * scale))
    crop = Image.fromarray(photo[top:bottom, left:right]).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(crop)
    for found, colour in ((reference, _REFERENCE_COLOUR), (other, _OTHER_COLOUR)):
        for box in (found["boxes"] - [left, top, left, top]) * scale:
            draw.rectangle(box.tolist(), outline=colour, width=_LINE_PX)
        if found["landmarks"] is not None:
            for x, y in ((found["landmarks"] - [left, top]) * scale).reshape(-1, 2).tolist():
                draw.ellipse((x - _DOT_PX, y - _DOT_PX, x + _DOT_PX, y + _DOT_PX), outline=colour)
    caption = [
        f"{row['worst_photo']}: {row['verdict']}",
        f"green: {row['against']}",
        f"red: {row['label']}",
        ", ".join(
            text.format(row[name])
            for name, text in (
                ("box_px", "box {:.2f} px"),
                ("landmark_px", "points {:.2f} px"),
                ("cosine", "cosine {:.5f}"),
            )
            if row[name] is not None
        ),
    ]
    font = ImageFont.load_default(_TEXT_PX)
    strip = Image.new("RGB", (crop.width, (_TEXT_PX + 8) * len(caption) + 8), "black")
    write = ImageDraw.Draw(strip)
    for number, line in enumerate(caption):
        write.text((8, 6 + number * (_TEXT_PX + 8)), line, fill="white", font=font)
    return np.concatenate([np.asarray(crop), np.asarray(strip)])


def _worst_box(reference: Found, other: Found) -> np.ndarray:
    """The box `[4]` of the face that differs most: one that only one of both has, if any."""
    ours, theirs = match(reference["boxes"], other["boxes"])
    for found, rows in ((reference, ours), (other, theirs)):
        alone = np.setdiff1d(np.arange(len(found["boxes"])), rows)
        if len(alone):
            return found["boxes"][alone[0]]
    if not len(ours):
        return np.array([0, 0, 1, 1], np.float32)
    apart = np.abs(reference["boxes"][ours] - other["boxes"][theirs]).max(axis=1)
    if reference["landmarks"] is not None and other["landmarks"] is not None:
        points = np.abs(reference["landmarks"][ours] - other["landmarks"][theirs]).max(axis=(1, 2))
        apart = np.maximum(apart, points)
    return reference["boxes"][ours[int(apart.argmax())]]


def _window(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A square around a box, as far as the photo reaches."""
    left, top, right, bottom = box.tolist()
    half = max(right - left, bottom - top) * (0.5 + _MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    return (
        int(max(0, min(x - half, shape[1] - 2))),
        int(max(0, min(y - half, shape[0] - 2))),
        int(min(shape[1], max(x + half, 2))),
        int(min(shape[0], max(y + half, 2))),
    )
