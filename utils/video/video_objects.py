"""Films as ComfyUI hands them on: its VIDEO objects, looked into without loading what they hold."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .film import FilmFile
from .frames import Frames, ImageFrames


@dataclass(frozen=True)
class TrimmedFilm:
    """A film, and the part of it that counts.

    Attributes:
        frames: The film.
        start_seconds: Where the part begins.
        end_seconds: Where it ends; None is the film's end.
    """

    frames: Frames
    start_seconds: float = 0.0
    end_seconds: float | None = None


def film_of_video(video: Any) -> TrimmedFilm:
    """The film of a VIDEO socket: what is in a file is read from there, what is in tensors, there.

    Args:
        video: An object of ComfyUI's `comfy_api`: `VideoFromFile`, `VideoFromComponents`, or one of
            another pack with their methods.

    Raises:
        InvalidInput: It holds no film that can be decoded; see `FilmFile`.
    """
    source = _stream_source(video)
    if source is None:
        components = video.get_components()
        return TrimmedFilm(ImageFrames(components.images, Fraction(components.frame_rate)))
    if isinstance(source, io.BytesIO):
        frames = FilmFile(source.getvalue(), "the film")
    else:
        frames = FilmFile(Path(source))
    # Cores before 0.3.70 trim nothing.
    window = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))
    start, duration = window()
    return TrimmedFilm(frames, start, start + duration if duration else None)


def sound_of_video(video: Any) -> Path | bytes | None:
    """A film or sound file with the sound of a VIDEO; None where it has none.

    Args:
        video: As `film_of_video` takes it.
    """
    source = _stream_source(video)
    if source is not None:
        return source.getvalue() if isinstance(source, io.BytesIO) else Path(source)
    audio = video.get_components().audio
    return None if audio is None else _wave_file(audio["waveform"], int(audio["sample_rate"]))


def _wave_file(waveform: Tensor, rate: int) -> bytes:
    """The content of a WAV file of ComfyUI's AUDIO: `[1,C,N]` floating -1..1."""
    levels = (waveform[0].float().clamp(-1, 1) * 32767).round().to("cpu", torch.int16)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(len(levels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(levels.T.contiguous().numpy().astype("<i2").tobytes())
    return content.getvalue()


def _stream_source(video: Any) -> Any:
    """The path or the `BytesIO` that a VIDEO reads; None of one that is made of tensors."""
    kind = next((each for each in type(video).__mro__ if "get_stream_source" in vars(each)), None)
    if kind is None:
        # The oldest cores keep it to themselves.
        return getattr(video, "_VideoFromFile__file", None)
    # The base class, which is abstract, encodes all frames for whoever asks.
    return None if getattr(kind, "__abstractmethods__", None) else video.get_stream_source()
