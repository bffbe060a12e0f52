"""Tracks in words."""

from __future__ import annotations

import numpy as np

from .choosing import rows_of_tracks
from .tracks import Tracks


def track_lines(tracks: Tracks) -> list[str]:
    """A line for each track: id, name, in how many frames, from when to when, how large."""
    boxes = tracks.faces.boxes.cpu().double().numpy()
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 0))
    images = np.asarray(tracks.faces.images_of_faces(), np.int64)
    lines = []
    for track, rows in sorted(rows_of_tracks(tracks).items()):
        name = f" {tracks.names[track]}" if track in tracks.names else ""
        times = [tracks.times[image] for image in (images[rows].min(), images[rows].max())]
        lines.append(
            f"{track}{name}: {len(rows)} of {len(tracks.frames)} frames, {times[0]:.2f} to "
            f"{times[1]:.2f} s, {np.median(sides[rows]):.0f} pixels"
        )
    return lines
