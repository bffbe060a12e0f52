"""Films that are written have the frames, times and sound that they were to have."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.utils.errors import InvalidInput
from fastface.utils.video.encode import Sound, write_film

av: Any = pytest.importorskip("av")

SIZE_HW = (48, 64)
RATES = [Fraction(25), Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(60)]


def flat(level: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    picture = np.zeros((*size_hw, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = level, 255 - level, 128
    return picture


def frames(times: list[float]) -> Iterator[tuple[float, np.ndarray]]:
    for number, seconds in enumerate(times):
        yield seconds, flat(40 + 10 * (number % 16))


def as_rgb(frame: Any) -> np.ndarray:
    # What a frame says of its colours is heeded by old releases only where another is named.
    shown = {"src_colorspace": frame.colorspace, "dst_colorspace": "DEFAULT"}
    return frame.reformat(format="rgb24", **shown).to_ndarray()


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times from the beginning of the film, and pictures."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / 1e6
        decoded = list(container.decode(video=0))
        pictures = [as_rgb(frame) for frame in decoded]
        return [float(frame.pts * frame.time_base) - start for frame in decoded], pictures


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.size]


def film_with_sound(
    path: Path, codec: str = "aac", seconds: float = 2.0, begin: float = 0.0
) -> Path:
    """A film of two seconds with a tone that lasts as long as it is told to."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream("h264", rate=25)
        picture.height, picture.width, picture.pix_fmt = *SIZE_HW, "yuv420p"
        tone = output.add_stream(codec, rate=48_000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(flat(5 * number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        samples = np.arange(int(seconds * 48_000))
        wave = (0.3 * np.sin(2 * np.pi * 440 * samples / 48_000)).astype(np.float32)
        for place in range(0, len(wave), 4800):
            frame = av.AudioFrame.from_ndarray(wave[None, place : place + 4800], "flt", "mono")
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = place + int(begin * 48_000)
            output.mux(tone.encode(frame))
        output.mux(tone.encode(None))
    return path


class TestPicture:
    @pytest.mark.parametrize("rate", RATES, ids=str)
    def test_times_of_a_steady_film(self, tmp_path: Path, rate: Fraction):
        times = [float(number / rate) for number in range(40)]
        assert write_film(tmp_path / "a.mp4", frames(times), SIZE_HW, rate) == 40
        assert np.allclose(read(tmp_path / "a.mp4")[0], times, atol=1e-5)

    def test_times_of_a_film_without_a_steady_rate(self, tmp_path: Path):
        times = np.random.default_rng(0).uniform(0.004, 0.5, 60).cumsum()
        times = [float(t) for t in times - times[0]]
        write_film(tmp_path / "a.mp4", frames(times), SIZE_HW, Fraction(4))
        assert np.allclose(read(tmp_path / "a.mp4")[0], times, atol=1e-5)

    def test_one_frame(self, tmp_path: Path):
        assert write_film(tmp_path / "a.mp4", frames([0.0]), SIZE_HW, Fraction(25)) == 1
        assert read(tmp_path / "a.mp4")[0] == [0.0]

    def test_colours_come_back(self, tmp_path: Path):
        write_film(tmp_path / "a.mp4", frames([0.0, 0.1, 0.2]), SIZE_HW, Fraction(10))
        for picture, (_, expected) in zip(
            read(tmp_path / "a.mp4")[1], frames([0, 1, 2]), strict=True
        ):
            assert np.abs(picture.astype(int) - expected).max() <= 4

    def test_odd_sizes_get_a_line(self, tmp_path: Path):
        frame = flat(100, (47, 63))
        write_film(tmp_path / "a.mp4", iter([(0.0, frame)]), (47, 63), Fraction(25))
        (picture,) = read(tmp_path / "a.mp4")[1]
        assert picture.shape == (48, 64, 3)

    @pytest.mark.parametrize(
        "given, said",
        [
            ([], "without frames"),
            ([(0.0, flat(0)), (0.0, flat(0))], "behind one at or after that time"),
            ([(0.0, flat(0, (48, 60)))], r"expected uint8 \(48, 64, 3\)"),
        ],
    )
    def test_what_is_no_film_is_refused_and_leaves_nothing(
        self, tmp_path: Path, given: list, said: str
    ):
        with pytest.raises(InvalidInput, match=said):
            write_film(tmp_path / "a.mp4", iter(given), SIZE_HW, Fraction(25))
        assert list(tmp_path.iterdir()) == []


class TestSound:
    TIMES = tuple(number / 25 for number in range(50))

    def write(self, film: Path, sound: Sound, times: tuple[float, ...] = TIMES) -> Path:
        write_film(film.with_name("out.mp4"), frames(list(times)), SIZE_HW, Fraction(25), sound)
        return film.with_name("out.mp4")

    @pytest.mark.parametrize("codec", ["aac", "mp3"])
    def test_is_copied_bit_for_bit(self, tmp_path: Path, codec: str):
        film = film_with_sound(tmp_path / "film.mp4", codec)
        written = self.write(film, Sound(film))
        before, after = sound_packets(film), sound_packets(written)
        assert [data for _, data in after] == [data for _, data in before]
        assert np.allclose([t for t, _ in after], [t for t, _ in before], atol=1e-3)
        assert np.allclose(read(written)[0], self.TIMES, atol=1e-5)

    @pytest.mark.parametrize("seconds", [0.5, 5.0])
    def test_may_be_shorter_or_longer_than_the_picture(self, tmp_path: Path, seconds: float):
        film = film_with_sound(tmp_path / "film.mp4", seconds=seconds)
        written = self.write(film, Sound(film))
        assert len(sound_packets(written)) == len(sound_packets(film))

    def test_that_begins_later_begins_later(self, tmp_path: Path):
        film = film_with_sound(tmp_path / "film.mp4", begin=0.7)
        first = sound_packets(self.write(film, Sound(film)))[0][0]
        assert abs(first - sound_packets(film)[0][0]) < 1e-3 and first > 0.6

    def test_of_a_part(self, tmp_path: Path):
        film = film_with_sound(tmp_path / "film.mp4")
        times = tuple(number / 25 for number in range(20))
        written = sound_packets(self.write(film, Sound(film, 0.5, 1.3), times))
        assert written[0][0] == pytest.approx(0, abs=0.03)
        assert written[-1][0] == pytest.approx(0.8, abs=0.03)
        whole = [data for _, data in sound_packets(film)]
        part = [data for _, data in written]
        begin = whole.index(part[0])
        assert part == whole[begin : begin + len(part)]

    def test_that_mp4_does_not_hold_is_encoded_anew(self, tmp_path: Path):
        film = film_with_sound(tmp_path / "film.mkv", "pcm_s16le")
        written = self.write(film, Sound(film))
        with av.open(str(written)) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
            samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert len(samples) == pytest.approx(2 * 48_000, abs=2500)
        crossings = (np.diff(np.signbit(samples[5000:-5000]))).sum() / 2
        assert crossings / ((len(samples) - 10_000) / 48_000) == pytest.approx(440, rel=0.01)

    def test_a_film_without_sound(self, tmp_path: Path):
        write_film(tmp_path / "film.mp4", frames([0.0, 0.1]), SIZE_HW, Fraction(10))
        written = self.write(tmp_path / "film.mp4", Sound(tmp_path / "film.mp4"))
        with av.open(str(written)) as container:
            assert not container.streams.audio

    @pytest.mark.parametrize("film", ["gone.mp4", b"no film"])
    def test_of_what_is_no_film_is_refused(self, tmp_path: Path, film: str | bytes):
        source = tmp_path / film if isinstance(film, str) else film
        with pytest.raises(InvalidInput, match="whose sound is wanted, can't be opened"):
            self.write(tmp_path / "x", Sound(source))
        assert list(tmp_path.iterdir()) == []

    def test_from_memory(self, tmp_path: Path):
        film = film_with_sound(tmp_path / "film.mp4")
        written = self.write(film, Sound(film.read_bytes()))
        assert len(sound_packets(written)) == len(sound_packets(film))


def test_an_error_while_frames_are_made_leaves_nothing(tmp_path: Path):
    def broken() -> Iterator[tuple[float, np.ndarray]]:
        yield 0.0, flat(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_film(tmp_path / "a.mp4", broken(), SIZE_HW, Fraction(25))
    assert list(tmp_path.iterdir()) == []
