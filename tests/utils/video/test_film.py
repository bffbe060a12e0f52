"""Films as people have them: every frame once, in its order, as it is shown; or a reason."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from fastface.utils.errors import InvalidInput
from fastface.utils.progress import heard_by
from fastface.utils.video.film import FilmFile
from fastface.utils.video.frames import ImageFrames
from fastface.utils.video.selection import Selection
from tests.utils.video.made import SIZE_HW, film, number_in, numbered, turned


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    """Python's, which would free frames that hold themselves, some time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def all_of(opened: FilmFile) -> list[tuple[int, int, float]]:
    """Number, number in the picture, and time of each frame."""
    wanted = Selection().numbers(opened.times)
    return [
        (frame.number, number_in(frame.pixels.numpy()), frame.time) for frame in opened.read(wanted)
    ]


def check_all(opened: FilmFile, count: int) -> None:
    got = all_of(opened)
    assert [number for number, _, _ in got] == [shown for _, shown, _ in got] == list(range(count))


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"pixels": "yuv444p"},
        {"codec": "libx264", "pixels": "yuv420p10le"},
        {"codec": "libx265", "pixels": "yuv420p10le"},
        {"codec": "libx265", "container": "matroska"},
        {"codec": "libsvtav1", "pixels": "yuv420p10le"},
        {"codec": "libvpx-vp9", "container": "webm"},
        {
            "codec": "libvpx",
            "container": "webm",
            "options": {"auto-alt-ref": "1", "lag-in-frames": "16"},
        },
        {"codec": "mpeg4", "container": "avi", "options": {"bf": "2", "qscale": "2"}},
        {"codec": "mjpeg", "container": "mov", "pixels": "yuvj420p"},
        {"container": "mpegts"},
        {"container": "mp4", "options": {"x264-params": "bframes=4:b-pyramid=normal:open-gop=1"}},
        {"sound_seconds": 0.2},
        {"sound_seconds": 6.0},
    ],
    ids=str,
)
def test_every_frame_of_every_kind(made: dict):
    opened = FilmFile(film(40, **made))
    assert opened.size_hw == SIZE_HW and opened.rotation == 0 and opened.notes == ()
    assert opened.average_rate == 25
    check_all(opened, 40)
    assert [time for _, _, time in all_of(opened)] == pytest.approx(
        (np.arange(40) / 25 + opened.times[0]).tolist(), abs=2e-3
    )


def matrix(a: int, b: int, c: int, d: int, pixels: np.ndarray) -> np.ndarray:
    """What a display matrix makes of a picture, place by place, as FFmpeg's display.h says."""
    height, width = pixels.shape[:2]
    size = (width, height) if b else (height, width)
    shown = np.zeros((*size, 3), np.uint8)
    for q in range(height):
        for p in range(width):
            x, y = a * p + c * q, b * p + d * q
            shown[(y - (b + d < 0)) % size[0], (x - (a + c < 0)) % size[1]] = pixels[q, p]
    return shown


@pytest.mark.parametrize(
    "turn",
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_frames_are_turned_as_players_do(turn: tuple[int, int, int, int]):
    import av

    stored = film(2)
    content = turned(stored, *turn)
    (plain,) = FilmFile(stored).read(np.array([1]))
    opened = FilmFile(content)
    (shown,) = opened.read(np.array([1]))
    np.testing.assert_array_equal(shown.pixels.numpy(), matrix(*turn, plain.pixels.numpy()))
    assert opened.size_hw == tuple(shown.pixels.shape[:2])
    a, b, c, d = turn
    if a * d - b * c > 0:  # PyAV tells no mirror image
        import io

        with av.open(io.BytesIO(content)) as container:
            assert opened.rotation == next(container.decode(video=0)).rotation % 360


def test_frames_that_were_read_are_let_go_at_once(no_garbage_collector: None):
    import av

    wide = [np.zeros((360, 640, 3), np.uint8)] * 40
    for content in (film(wide), turned(film(wide), 0, 1, -1, 0)):
        opened = FilmFile(content)
        for _ in opened.read(np.arange(40)):
            there = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
            assert there < 12


def test_times_are_those_of_the_frames():
    pts = [0, 10, 20, 300, 310, 900, 1500, 1501]
    opened = FilmFile(film(len(pts), pts=pts))
    got = all_of(opened)
    assert [shown for _, shown, _ in got] == list(range(len(pts)))
    assert [time for _, _, time in got] == pytest.approx([each / 1000 for each in pts], abs=1e-4)


@pytest.mark.parametrize(
    "container, codec", [("mp4", "libx264"), ("mpegts", "libx264"), ("matroska", "libx265")]
)
def test_what_is_leapt_over_changes_nothing(container: str, codec: str):
    opened = FilmFile(film(200, codec=codec, container=container, keys=20))
    everything = {
        frame.number: frame.pixels.numpy().copy() for frame in opened.read(np.arange(200))
    }
    assert len(everything) == 200
    chance = random.Random(1)
    for wanted in ([199], [0, 199], [57, 58, 140], sorted(chance.sample(range(200), 6))):
        got = list(opened.read(np.array(wanted)))
        assert [frame.number for frame in got] == wanted
        for frame in got:
            np.testing.assert_array_equal(frame.pixels.numpy(), everything[frame.number])


def test_leaps_spare_decoding(monkeypatch: pytest.MonkeyPatch):
    from fastface.utils.video import film as module

    opened = FilmFile(film(300, keys=30))
    decoded = []
    real = module._decoded
    monkeypatch.setattr(
        module,
        "_decoded",
        lambda *opened: (decoded.append(each) or each for each in real(*opened)),
    )
    assert [frame.number for frame in opened.read(np.array([295]))] == [295]
    assert len(decoded) < 40


def test_a_film_of_one_frame():
    check_all(FilmFile(film(1)), 1)


@pytest.mark.parametrize("where", [0.5, 0.9])
def test_a_film_that_was_cut_off_is_read_as_far_as_it_goes(where: float):
    content = film(60, container="matroska")
    opened = FilmFile(content[: int(len(content) * where)])
    got = all_of(opened)
    assert 10 < len(got) < 60 and [number for number, _, _ in got] == list(range(len(got)))
    assert [shown for _, shown, _ in got] == list(range(len(got)))


def fast_start(frames: int) -> bytes:
    """A film whose list of frames is before them, as on the web."""
    import io

    import av

    target = io.BytesIO()
    with av.open(io.BytesIO(film(frames))) as source:
        template = source.streams.video[0]
        with av.open(target, "w", format="mp4", options={"movflags": "frag_keyframe"}) as output:
            stream = output.add_stream_from_template(template)
            for packet in source.demux(template):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    return target.getvalue()


def test_a_fragmented_film_that_was_cut_off():
    content = fast_start(60)
    opened = FilmFile(content[: len(content) * 2 // 3])
    got = all_of(opened)
    assert 10 < len(got) < 60 and [shown for _, shown, _ in got] == list(range(len(got)))


def test_broken_frames_are_left_out_and_the_others_keep_their_numbers():
    content = bytearray(film(60, codec="mjpeg", container="avi", pixels="yuvj420p"))
    whole = FilmFile(bytes(content))
    check_all(whole, 60)
    # The tenth picture: its header is overwritten.
    starts = [at for at in range(len(content) - 2) if content.startswith(b"\xff\xd8\xff", at)]
    assert len(starts) == 60
    content[starts[9] : starts[10] - 16] = bytes(starts[10] - 16 - starts[9])
    opened = FilmFile(bytes(content))
    got = [frame.number for frame in opened.read(np.arange(60))]
    assert len(got) == 59


def test_broken_packets_of_h264_are_left_out():
    content = bytearray(film(60, keys=10, options={"x264-params": "bframes=0"}))
    import io

    import av

    with av.open(io.BytesIO(content)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[20]
    content[position : position + size] = bytes(size)
    got = all_of(FilmFile(bytes(content)))
    numbers = [number for number, _, _ in got]
    assert 50 <= len(numbers) < 60
    assert {*range(20), *range(30, 60)} <= set(numbers)
    assert all(number == shown for number, shown, _ in got if not 20 <= number < 30)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"This is a shopping list, no film.\n" * 50, "can't be opened as a film"),
        (b"", "can't be opened as a film"),
        (film(40)[:3500], "can't be opened as a film"),  # MP4 has its list of frames at the end
    ],
    ids=["text", "empty", "truncated"],
)
def test_what_is_no_film_is_refused(content: bytes, reason: str, tmp_path: Path):
    file = tmp_path / "holiday.mp4"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=reason) as caught:
        FilmFile(file)
    assert "holiday.mp4" in str(caught.value) and "choose another film" in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["holiday.mp4"]


def test_sound_alone_is_refused(tmp_path: Path):
    import av

    file = tmp_path / "song.m4a"
    with av.open(str(file), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(InvalidInput, match=r"song\.m4a has sound or pictures, but no film"):
        FilmFile(file)


def test_a_film_without_frames_is_refused():
    import io

    import av

    target = io.BytesIO()
    with av.open(io.BytesIO(film(1))) as source, av.open(target, "w", format="matroska") as output:
        output.add_stream_from_template(source.streams.video[0])
        output.start_encoding()
    with pytest.raises(InvalidInput, match=r"has no frames|can't be opened"):
        FilmFile(target.getvalue())


def test_reading_the_packets_may_be_stopped():
    class Stop(BaseException):
        pass

    def stop(_: float) -> None:
        raise Stop

    with pytest.raises(Stop), heard_by(stop):
        FilmFile(film(5))


def test_content_is_that_of_the_pictures(tmp_path: Path):
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    one.write_bytes(film(10))
    other.write_bytes(film(10))
    assert FilmFile(one).content == FilmFile(other).content == FilmFile(film(10)).content
    pictures = [numbered(n) for n in range(10)]
    pictures[7][0, 0] = 255
    assert FilmFile(film(pictures)).content != FilmFile(one).content


class TestSelection:
    times = np.arange(100) / 25

    def test_every_nth(self):
        assert Selection(every_nth=30).numbers(self.times).tolist() == [0, 30, 60, 90]

    def test_spread_evenly(self):
        assert Selection(frames=4).numbers(self.times).tolist() == [0, 33, 66, 99]
        assert Selection(frames=1).numbers(self.times).tolist() == [0]
        assert len(Selection(frames=1000).numbers(self.times)) == 100

    def test_a_part(self):
        part = Selection(start_seconds=1.0, end_seconds=1.2).numbers(self.times)
        assert part.tolist() == [25, 26, 27, 28, 29]

    @pytest.mark.parametrize("start, end", [(4.0, None), (2.0, 1.0), (1.001, 1.002)])
    def test_nothing_there(self, start: float, end: float | None):
        with pytest.raises(InvalidInput, match=r"frames from 0\.00 s to 3\.96 s"):
            Selection(start_seconds=start, end_seconds=end).numbers(self.times)


def test_images_are_a_film_too():
    import torch

    images = torch.rand(5, 4, 6, 3)
    frames = ImageFrames(images, Fraction(10))
    assert frames.times.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4] and frames.size_hw == (4, 6)
    (second,) = frames.read(np.array([2]))
    assert second.number == 2 and torch.equal(second.pixels, images[2])
    assert frames.content == ImageFrames(images.clone(), Fraction(10)).content
    assert frames.content != ImageFrames(images.flip(0), Fraction(10)).content
