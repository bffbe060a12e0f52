"""`FilmFile`: the frames of a film, decoded a few at a time with PyAV."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cores import usable_cores
from ..errors import BackendUnavailable, InvalidInput
from ..modules import has_module
from .frames import Frame
from .orientation import orientation_of
from .packets import FilmIndex, read_index

#: Threads that decode: more hardly help, and each holds a frame.
_MOST_THREADS = 8
#: Frames that are decoded and dropped rather than sought over.
_LEAST_LEAP = 24
_ATTACHED_PICTURE = 0x400
#: Where a film says nothing about it.
_USUAL_RATE = Fraction(25)
_MICROSECONDS = 1_000_000


class FilmFile:
    """A film in a file or in memory; see `Frames`. No more than a frame of it is held here.

    Frames are numbered in the order in which they are shown. What is read later is what reading
    from the beginning gives, however far is leapt.
    """

    dtype = torch.uint8

    def __init__(self, source: Path | bytes, name: str | None = None) -> None:
        """Reads all packets once, and decodes the first frame; may be stopped meanwhile.

        Args:
            source: The file, or what is in it.
            name: What it is called in errors; the file's name by default.

        Raises:
            InvalidInput: It is no film, or no frame of it can be decoded; says why.
            BackendUnavailable: PyAV is not installed.
        """
        self._source = source
        self.name = name or (source.name if isinstance(source, Path) else "the film")
        self.path = str(source) if isinstance(source, Path) else None
        with self._opened() as (container, stream):
            self._index: FilmIndex = read_index(container, stream)
            self.average_rate = Fraction(stream.average_rate or _USUAL_RATE)
            self._time_base = Fraction(stream.time_base)
            # Players count from where the first of picture and sound begins.
            self._start = Fraction(container.start_time or 0, _MICROSECONDS)
            announced = stream.frames
        self.content = self._index.content
        if not self._index.count:
            raise InvalidInput(f"{self.name} has no frames: {_OTHER_FILM}")
        self.times = self._times()
        self.size_hw, self.rotation = self._first_frame()
        self.notes = self._notes(announced)

    def read(self, wanted: np.ndarray) -> Iterator[Frame]:
        """The frames of these rising numbers; those that can't be decoded are left out.

        Args:
            wanted: `[n]` int64.

        Yields:
            Frames whose pixels `[H,W,3]` uint8 are a view.
        """
        if not len(wanted):
            return
        last = -1
        try:
            for frame in self._read(wanted, leap=True):
                last = frame.number
                yield frame
            return
        except _LeaptTooFar:
            pass
        yield from self._read(wanted[wanted > last], leap=False)

    def _read(self, wanted: np.ndarray, leap: bool) -> Iterator[Frame]:
        """As `read`; raises `_LeaptTooFar` where going to a key frame does not give what is there.

        Args:
            leap: Whether frames that nobody wants may be leapt over.
        """
        from av.video.reformatter import VideoReformatter

        with self._opened() as (container, stream):
            to_rgb = VideoReformatter()
            place, at = 0, -1
            has_leapt = is_new = False
            while place < len(wanted):
                if leap and self._leaps(container, stream, at, int(wanted[place])):
                    has_leapt = is_new = True
                for frame in _decoded(container, stream):
                    number = self._number(frame, at)
                    if is_new and number > wanted[place]:
                        raise _LeaptTooFar
                    is_new = False
                    if number <= at:
                        continue
                    at = number
                    # Those that were not met are broken.
                    place += int(np.searchsorted(wanted[place:], number))
                    if place == len(wanted) or wanted[place] != number:
                        continue
                    if not frame.is_corrupt:
                        yield Frame(number, float(self.times[number]), _pixels(to_rgb, frame))
                    elif has_leapt:
                        raise _LeaptTooFar
                    place += 1
                    if place == len(wanted) or (leap and self._key_before(at, int(wanted[place]))):
                        break
                else:
                    if is_new:
                        raise _LeaptTooFar
                    return

    def _number(self, frame: Any, before: int) -> int:
        """The number of a decoded frame; `before`: that of the one before it."""
        if self._index.pts is None or frame.pts is None:
            return min(before + 1, self._index.count - 1)
        return min(int(np.searchsorted(self._index.pts, frame.pts)), self._index.count - 1)

    def _key_before(self, at: int, target: int) -> int | None:
        """The key frame to go to from frame `at` for a later one; None where going on is better."""
        if self._index.pts is None or target - at <= _LEAST_LEAP:
            return None
        place = int(np.searchsorted(self._index.keys, target, side="right")) - 1
        key = int(self._index.keys[place]) if place >= 0 else 0
        return key if key > at + _LEAST_LEAP else None

    def _leaps(self, container: Any, stream: Any, at: int, target: int) -> bool:
        """Whether it went to a key frame on the way from frame `at` to a later one."""
        key = self._key_before(at, target)
        if key is None or self._index.pts is None:
            return False
        container.seek(int(self._index.pts[key]), stream=stream)
        return True

    def _times(self) -> np.ndarray:
        if self._index.pts is None:
            return np.arange(self._index.count) / float(self.average_rate)
        return self._index.pts * float(self._time_base) - float(self._start)

    def _first_frame(self) -> tuple[tuple[int, int], int]:
        """Size as it is shown, and rotation, of the first frame that can be decoded."""
        with self._opened() as (container, stream):
            for frame in _decoded(container, stream):
                orientation = orientation_of(frame)
                return orientation.size_shown((frame.height, frame.width)), orientation.rotation
        raise InvalidInput(
            f"no frame of {self.name} can be decoded, though it has {self._index.count}: it is "
            f"damaged, or cut off before its first picture ends; {_OTHER_FILM}"
        )

    def _notes(self, announced: int) -> tuple[str, ...]:
        missing = announced - self._index.count
        if missing > 0 or self._index.ends_early:
            of = f" of {announced}" if missing > 0 else ""
            return (f"{self.name} ends early: {self._index.count}{of} frames are there",)
        return ()

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The container at its beginning, and its video stream.

        Raises:
            InvalidInput: It is no film.
            BackendUnavailable: PyAV is not installed.
        """
        if not has_module("av"):
            raise BackendUnavailable(
                "decoding films needs PyAV, which ComfyUI brings: run `pip install av` in "
                "ComfyUI's Python, or connect the frames as an IMAGE batch"
            )
        import av
        from av.error import FFmpegError

        source = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
        try:
            container = av.open(source, mode="r")
        except (FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInput(
                f"{self.name} can't be opened as a film: {reason}; it is no film, or was cut off "
                f"while it was written or copied; {_OTHER_FILM}"
            ) from error
        with container:
            stream = _video_stream(container.streams.video)
            if stream is None:
                raise InvalidInput(f"{self.name} has sound or pictures, but no film; {_OTHER_FILM}")
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(_MOST_THREADS, usable_cores() or 1)
            yield container, stream


_OTHER_FILM = "choose another film, or copy it anew"


class _LeaptTooFar(Exception):
    """Behind a key frame other frames came than reading from the beginning gives."""


def _video_stream(streams: Sequence[Any]) -> Any:
    """The first film among video streams that can be decoded; covers of albums are none."""
    for stream in streams:
        kind = stream.disposition
        is_cover = int(getattr(kind, "value", kind)) & _ATTACHED_PICTURE
        if stream.codec_context is not None and not is_cover:
            return stream
    return None


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """The frames from where the container is, in the order in which they are shown.

    What damaged packets would have given is left out.
    """
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:  # the last packet emptied the decoder
            return
        except FFmpegError:  # the file was cut off
            with suppress(FFmpegError):
                yield from stream.decode(None)
            return
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        yield from frames


def _pixels(to_rgb: Any, frame: Any) -> torch.Tensor:
    """A frame as it is shown, `[H,W,3]` uint8 RGB: a view of memory of its own."""
    # Old releases heed the film's own colours, such as BT.709, only where others are asked for.
    plane = to_rgb.reformat(
        frame, format="rgb24", src_colorspace=frame.colorspace, dst_colorspace="DEFAULT"
    ).planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    pixels = lines[: frame.height, : 3 * frame.width].reshape(frame.height, frame.width, 3)
    shown = orientation_of(frame).applied(pixels)
    return torch.from_numpy(shown if all(step > 0 for step in shown.strides) else shown.copy())
