"""The frames of a film as its packets tell of them: read once, without decoding any."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..progress import may_stop


@dataclass(frozen=True)
class FilmIndex:
    """What the packets of a film say, in the order in which its frames are shown.

    Attributes:
        pts: `[N]` int64, when each frame is shown, in units of the stream; None where packets don't
            say, as in AVI, or not of each frame another time.
        keys: `[K]` int64 numbers of the frames that can be decoded without those before them.
        count: How many frames there are, as far as packets tell.
        content: SHA-256, 64 hexadecimal digits, of codec and packets: of all that decides the
            pictures, whatever the file is called and whatever sound and texts it has.
        ends_early: Whether the file ended in the middle of a packet.
    """

    pts: np.ndarray | None
    keys: np.ndarray
    count: int
    content: str
    ends_early: bool


def read_index(container: Any, stream: Any) -> FilmIndex:
    """Reads all packets of a video stream; may be stopped at each.

    Args:
        container: An open PyAV input container, at its beginning.
        stream: Its video stream.
    """
    from av.error import FFmpegError

    digest = hashlib.sha256(
        repr((stream.codec_context.name, stream.time_base)).encode()
        + bytes(stream.codec_context.extradata or b"")
    )
    times: list[int | None] = []
    keys: list[bool] = []
    ends_early = False
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the last one, which only empties the decoder
                continue
            may_stop()
            digest.update(struct.pack("<?q", packet.pts is not None, packet.pts or 0))
            digest.update(packet)
            if not packet.is_discard and _is_shown(stream, packet):
                times.append(packet.pts)
                keys.append(packet.is_keyframe)
            ends_early |= packet.is_corrupt
    except FFmpegError:
        ends_early = True
    known = [time for time in times if time is not None]
    if len(known) < len(times) or len(set(known)) < len(known):
        return FilmIndex(None, np.zeros(0, np.int64), len(times), digest.hexdigest(), ends_early)
    pts = np.array(known, np.int64)
    order = np.argsort(pts, kind="stable")
    places = np.flatnonzero(np.array(keys, bool)[order])
    return FilmIndex(pts[order], places, len(pts), digest.hexdigest(), ends_early)


def _is_shown(stream: Any, packet: Any) -> bool:
    """Whether a packet holds a frame to be shown: VP8 has others, which newer ones only use.

    Source:
        RFC 6386, section 9.1: `show_frame` is bit 4 of a frame's first byte.
    """
    return stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)
