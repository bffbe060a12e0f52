"""Films as people have them, made with PyAV: frames that say their number by their colours."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np

SIZE_HW = (96, 160)
#: Squares of 16 pixels that hold one bit each of a frame's number.
_BITS = 10
_SQUARE = 16
Paint = Callable[[int], np.ndarray]


def numbered(number: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A picture `[H,W,3]` that holds a number, upper left, and is brighter on the left."""
    height, width = size_hw
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[:, : width // 2] += 60
    for bit in range(_BITS):
        row, column = divmod(bit, width // _SQUARE)
        value = 235 if number >> bit & 1 else 20
        top, left = row * _SQUARE, column * _SQUARE
        picture[top : top + _SQUARE, left : left + _SQUARE] = value
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number that `numbered` put into a picture."""
    width, number = picture.shape[1], 0
    for bit in range(_BITS):
        row, column = divmod(bit, width // _SQUARE)
        top, left = row * _SQUARE, column * _SQUARE
        square = picture[top + 4 : top + _SQUARE - 4, left + 4 : left + _SQUARE - 4]
        number |= int(square.mean() > 128) << bit
    return number


def film(
    frames: int | Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    pixels: str = "yuv420p",
    pts: Sequence[int] | None = None,
    rate: int = 25,
    keys: int = 12,
    sound_seconds: float = 0.0,
    options: dict[str, str] | None = None,
) -> bytes:
    """A film of numbered frames, or of these `[H,W,3]` uint8 RGB.

    Args:
        pts: When each frame is shown, in thousandths of a second; else at an even rate.
        keys: Frames from a key frame to the next.
        sound_seconds: Length of a tone.
    """
    pictures = [numbered(n) for n in range(frames)] if isinstance(frames, int) else frames
    target = io.BytesIO()
    with _same_scheduling(), av.open(target, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        height, width = pictures[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.options = {**_OPTIONS.get(codec, {}), **(options or {})}
        stream.gop_size = keys
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound: Any = output.add_stream("aac", rate=48000, layout="mono") if sound_seconds else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _add_tone(output, sound, sound_seconds)
    return target.getvalue()


@contextmanager
def _same_scheduling() -> Iterator[None]:
    """Undoes what SVT-AV1 does to a process that may: real time, before all else there is.

    Every later test would run so, with the threads it starts, and the tests beside it wait.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    process = os.getpid()
    policy, priority = os.sched_getscheduler(process), os.sched_getparam(process)
    try:
        yield
    finally:
        os.sched_setscheduler(process, policy, priority)


_OPTIONS = {
    "libx264": {"crf": "12", "preset": "ultrafast"},
    "libx265": {"x265-params": "log-level=none", "crf": "16", "preset": "ultrafast"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}


def _add_tone(output: Any, sound: Any, seconds: float) -> None:
    samples = 1024
    for start in range(0, int(seconds * 48000), samples):
        wave = np.sin((np.arange(samples) + start) * 0.05).astype(np.float32)[None] * 0.1
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, start
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def turned(content: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An MP4 film whose display matrix is `(a b; c d)`, as phones write it."""
    at = content.index(b"tkhd", content.index(b"moov")) + 4 + 40
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    matrix = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in values)
    return content[:at] + matrix + content[at + len(matrix) :]
