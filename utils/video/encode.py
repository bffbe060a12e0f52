"""Films written frame by frame: H.264 in MP4, with times of frames and sound of another film."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendUnavailable, InvalidInput
from ..files import replacing
from ..modules import has_module
from ..progress import may_stop

#: Ticks a second: all usual rates, 24000/1001 and 30000/1001 too, are whole numbers of them.
_TICKS = 90_000
_MICROSECONDS = 1_000_000
#: Quality of x264, where lower is better and 18 is hard to tell from the original.
_OPTIONS = {"crf": "17", "preset": "fast"}
#: Decoders of the sound that players expect in MP4; other kinds are encoded anew.
_SOUND_IN_MP4 = frozenset(
    {"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"}
)
_SOUND_CODEC = "aac"


@dataclass(frozen=True)
class Sound:
    """The sound of a film, or of a part of it.

    Attributes:
        film: The file, or what is in it.
        start_s: Where the part begins, in seconds from the film's beginning.
        stop_s: Where it ends; None is the end of the sound, which may be behind that of the film.
    """

    film: Path | bytes
    start_s: float = 0.0
    stop_s: float | None = None


def write_film(
    path: Path,
    frames: Iterable[tuple[float, np.ndarray]],
    size_hw: tuple[int, int],
    rate: Fraction,
    sound: Sound | None = None,
) -> int:
    """Writes a film while its frames are made: no more than a few of them are held.

    Args:
        path: The file, ending in `.mp4`; it is there whole or not at all.
        frames: When each is shown, in seconds from the film's beginning, rising; and its pixels
            `[H,W,3]` uint8 RGB. An odd height or width is made even by a black line.
        size_hw: Height and width of all frames in pixels.
        rate: Frames a second on average; the times alone say when frames are shown.
        sound: Sound to be copied, encoded anew only where MP4 can't hold it.

    Returns:
        How many frames were written.

    Raises:
        InvalidInput: There is no frame, a time does not rise, or a frame has another size.
        BackendUnavailable: PyAV, which ComfyUI brings, is not installed.
        FileError: The file can't be written.
    """
    if not has_module("av"):
        raise BackendUnavailable(
            "writing films needs PyAV, which ComfyUI brings: run `pip install av` in ComfyUI's "
            "Python"
        )
    import av

    with replacing(path) as beside, ExitStack() as opened:
        output = opened.enter_context(av.open(str(beside), "w", format="mp4"))
        picture = _Picture(output, size_hw, rate)
        heard = opened.enter_context(_SoundTrack(output, sound)) if sound else None
        for seconds, pixels in frames:
            may_stop()
            if heard is not None:
                output.mux(list(heard.until(seconds)))
            output.mux(picture.encoded(seconds, pixels))
        if not picture.count:
            raise InvalidInput("got a film without frames, expected at least one to write")
        output.mux(picture.rest())
        if heard is not None:
            output.mux(list(heard.until(None)))
    return picture.count


class _Picture:
    """The video stream of a film that is written."""

    def __init__(self, output: Any, size_hw: tuple[int, int], rate: Fraction) -> None:
        from av.video.reformatter import Colorspace, VideoReformatter

        self.size_hw = size_hw
        self.count = 0
        self._last = -1
        self._reformatter, self._colours = VideoReformatter(), Colorspace.ITU709
        self._stream = output.add_stream("h264", rate=rate, options=dict(_OPTIONS))
        # H.264 as all players take it has colours for two by two pixels.
        self._stream.height, self._stream.width = (side + side % 2 for side in size_hw)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.time_base = Fraction(1, _TICKS)
        _say_bt709(self._stream.codec_context)

    def encoded(self, seconds: float, pixels: np.ndarray) -> list[Any]:
        import av

        if pixels.shape != (*self.size_hw, 3) or pixels.dtype != np.uint8:
            raise InvalidInput(
                f"got a frame of {pixels.dtype} {pixels.shape}, expected uint8 "
                f"{(*self.size_hw, 3)} as the others"
            )
        tick = round(seconds * _TICKS)
        if tick <= self._last:
            raise InvalidInput(f"got a frame at {seconds} s behind one at or after that time")
        self._last = tick
        height, width = self.size_hw
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=self._colours, dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
        self.count += 1
        return self._stream.encode(frame)

    def rest(self) -> list[Any]:
        return self._stream.encode(None)


def _say_bt709(context: Any) -> None:
    """Says how colours are encoded, which players otherwise guess from the size.

    Source:
        ITU-T H.273: 1 is BT.709 for primaries, transfer and matrix; FFmpeg's range 1 is MPEG's.
    """
    context.color_primaries = context.color_trc = context.colorspace = 1
    context.color_range = 1


def _opened(film: Path | bytes) -> Any:
    """A film to read the sound of.

    Raises:
        InvalidInput: It is not there, or no film.
    """
    import av
    from av.error import FFmpegError

    source = io.BytesIO(film) if isinstance(film, bytes) else str(film)
    try:
        return av.open(source, "r")
    except (FFmpegError, OSError, ValueError) as error:
        name = film.name if isinstance(film, Path) else "the film"
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"{name}, whose sound is wanted, can't be opened: {reason}; put it back to where it "
            "was, or run FastFace Video again"
        ) from error


class _SoundTrack:
    """The sound of a film on its way into another."""

    def __init__(self, output: Any, sound: Sound) -> None:
        self._input = _opened(sound.film)
        self._from = next(
            (each for each in self._input.streams.audio if each.codec_context is not None), None
        )
        self._packets: Iterator[Any] = iter(())
        self._ahead: Any = None
        if self._from is None:
            return
        self._begin = Fraction(self._input.start_time or 0, _MICROSECONDS)
        self._begin += Fraction(sound.start_s).limit_denominator(_MICROSECONDS)
        self._is_part = sound.start_s > 0
        self._stop_s = None if sound.stop_s is None else sound.stop_s - sound.start_s
        if self._from.codec_context.name in _SOUND_IN_MP4:
            self._to = output.add_stream_from_template(self._from)
            self._packets = self._copied()
        else:
            self._to = output.add_stream(_SOUND_CODEC, rate=self._from.rate)
            self._packets = self._encoded()

    def __enter__(self) -> _SoundTrack:
        return self

    def __exit__(self, *_error: object) -> None:
        self._input.close()

    def until(self, seconds: float | None) -> Iterator[Any]:
        """The packets that begin up to a time; all that are left for None."""
        while True:
            if self._ahead is None:
                self._ahead = next(self._packets, None)
            packet = self._ahead
            if packet is None:
                return
            if seconds is not None and packet.dts * packet.time_base > seconds:
                return
            self._ahead = None
            yield packet

    def _copied(self) -> Iterator[Any]:
        for packet in self._demuxed():
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(self._begin / packet.time_base)
            begin = packet.pts - shift
            if self._is_part and begin + (packet.duration or 0) <= 0:
                continue
            if self._stop_s is not None and begin * packet.time_base >= self._stop_s:
                return
            packet.pts, packet.dts = begin, packet.dts - shift
            packet.stream = self._to
            yield packet

    def _encoded(self) -> Iterator[Any]:
        import av
        from av.error import FFmpegError

        for packet in self._demuxed():
            try:
                frames = packet.decode()
            except FFmpegError:  # damaged sound is left out, as damaged pictures are
                continue
            for frame in frames:
                if not isinstance(frame, av.AudioFrame):
                    continue
                if frame.pts is None or frame.time_base is None:
                    continue
                shift = round(self._begin / frame.time_base)
                begin = (frame.pts - shift) * frame.time_base
                if self._is_part and begin < 0:
                    continue
                if self._stop_s is not None and begin >= self._stop_s:
                    yield from self._to.encode(None)
                    return
                frame.pts -= shift
                yield from self._to.encode(frame)
        yield from self._to.encode(None)

    def _demuxed(self) -> Iterator[Any]:
        from av.error import FFmpegError

        packets = self._input.demux(self._from)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, FFmpegError):  # the end, or where the file was cut off
                return
            yield packet
