"""FastFaceTracks: whom it takes, what it gives of them, and that it makes only what is taken."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes import tracks as node_module
from fastface.nodes.films.people_of_film import PeopleOfFilm
from fastface.utils.draw import draw_keypoints
from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import FilmSource, Tracks

SIZE_HW = (120, 160)
RATE = 10
COUNT = 12
#: The frames in which the second of two people is not seen.
GAP = range(5, 8)
NODE = NODE_CLASS_MAPPINGS["FastFaceTracks"]
PLACES = {name: place for place, name in enumerate(NODE.RETURN_NAMES)}  # pyright: ignore
PEOPLE = torch.tensor([[1.0, 0.0, 0.2], [0.0, 1.0, 0.2]])
SPREAD = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def film(count: int = COUNT) -> Tensor:
    """`[B,H,W,3]` float32: noise, sharper in later frames."""
    noise = torch.rand(1, *SIZE_HW, 3, generator=torch.Generator().manual_seed(0))
    return (0.5 + (noise - 0.5) * torch.linspace(0.1, 1, count)[:, None, None, None]).float()


def two_people(count: int = COUNT, embedded: bool = True, **source: Any) -> Tracks:
    """Person 0, large, stands at the left; person 1, small, walks at the right, with a gap."""
    rows = []
    for frame in range(count):
        rows.append((frame, 0, (10.0, 20.0, 60.0, 80.0)))
        if frame not in GAP:
            rows.append((frame, 1, (90.0 + 2 * frame, 40.0, 120.0 + 2 * frame, 76.0)))
    boxes = torch.tensor([box for *_, box in rows])
    faces = Faces(
        boxes=boxes,
        scores=torch.full((len(rows),), 0.9),
        image_index=torch.tensor([frame for frame, *_ in rows]),
        image_sizes=(SIZE_HW,) * count,
        landmarks=boxes[:, None, :2] + SPREAD * (boxes[:, 2:] - boxes[:, :2])[:, None],
        embeddings=PEOPLE[[person for _, person, _ in rows]] if embedded else None,
        embedding_space="people" if embedded else None,
    )
    origin = FilmSource(**{**vars(FilmSource(None, SIZE_HW, 0, Fraction(RATE), "")), **source})
    return link(faces, [frame / RATE for frame in range(count)], range(count), origin)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch):
    """Runs the node with only some outputs taken; gives these."""

    def run(*names: str, tracks: Tracks | None = None, **inputs: Any) -> Any:
        taken = frozenset(PLACES[name] for name in names)
        monkeypatch.setattr(node_module, "taken_outputs", lambda *_: taken)
        answer = NODE().show(two_people() if tracks is None else tracks, **inputs)  # pyright: ignore
        values = [answer["result"][PLACES[name]] for name in names]
        return values[0] if len(values) == 1 else values

    return run


class TestWho:
    @pytest.mark.parametrize(
        "inputs, frames",
        [
            ({"which": "largest"}, COUNT),
            ({"which": "longest"}, COUNT),
            ({"which": "ids", "ids": "1"}, COUNT - len(GAP)),
            ({"which": "ids", "ids": " 1, 0,1"}, 2 * COUNT - len(GAP)),
            ({"which": "all"}, 2 * COUNT - len(GAP)),
            ({"which": "most similar", "reference": Embedding(PEOPLE[1:], "people")}, 9),
            ({"which": "largest", "reference": Embedding(PEOPLE[1:], "people")}, 9),
            ({"which": "all", "reference": Embedding(-PEOPLE[1:], "people")}, 0),
            ({"which": "most similar", "reference": Embedding(torch.zeros(0, 3), None)}, 0),
        ],
    )
    def test_how_many_faces(self, only, inputs: dict, frames: int):
        faces = only("faces", missing="black", smooth=0.0, **inputs)
        assert len(faces) == frames and faces.image_sizes == (SIZE_HW,) * COUNT

    @pytest.mark.parametrize(
        "inputs, said",
        [
            ({"which": "ids", "ids": "7"}, "got ids 7, expected some of 0, 1"),
            (
                {"which": "ids", "ids": "a"},
                r"expected whole numbers from 0 or names of .* \(none\)",
            ),
            ({"which": "ids", "ids": "Ann", "names": "0=Anna"}, r"names of tracks \(Anna\)"),
            ({"which": "ids", "ids": " ,"}, "expected whole numbers from 0"),
            ({"which": "most similar"}, "needs a reference"),
            ({"names": "Anna"}, "expected an id, = and a name"),
        ],
    )
    def test_who_is_not_there_is_refused(self, only, inputs: dict, said: str):
        with pytest.raises(InvalidInput, match=said):
            only("faces", **inputs)

    def test_embeddings_of_another_pack_are_refused(self, only):
        with pytest.raises(InvalidInput, match="can't be compared"):
            only("faces", which="most similar", reference=Embedding(PEOPLE[1:], "others"))


class TestNames:
    @pytest.fixture
    def friends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A gallery of the second person and of a stranger."""
        monkeypatch.chdir(tmp_path)
        add = NODE_CLASS_MAPPINGS["FastFaceGalleryAdd"]()
        for name, vector in (("Ben", PEOPLE[1:]), ("Eve", torch.tensor([[0.0, 0.0, -1.0]]))):
            add.add(gallery="friends", name=name, embedding=Embedding(vector, "people"))
        return "friends"

    def test_a_gallery_gives_names(self, only, friends: str):
        faces, info = only("faces", "info", which="all", gallery=friends)
        assert set(faces.names_of_faces()) == {None, "Ben"}
        assert info.splitlines()[1].startswith("1 Ben: 9 of 12 frames")

    def test_who_is_wanted_may_be_named(self, only, friends: str):
        faces = only("faces", which="ids", ids="Ben", gallery=friends)
        assert len(faces) == COUNT and set(faces.names_of_faces()) == {"Ben"}

    def test_names_that_were_typed_come_first(self, only, friends: str):
        best = only("best_faces", which="all", gallery=friends, names="1=Benjamin", images=film())
        assert best.names_of_faces() == [None, "Benjamin"]

    def test_without_a_gallery_nobody_has_one(self, only):
        assert only("faces", which="all").names is None

    def test_a_gallery_that_is_not_there_is_refused(self, only, friends: str):
        with pytest.raises(InvalidInput, match="gallery"):
            only("faces", gallery="enemies")

    def test_it_runs_again_when_the_gallery_is_another(self, friends: str, monkeypatch):
        monkeypatch.setattr(node_module, "taken_outputs", lambda *_: frozenset({0}))
        before = NODE.IS_CHANGED(gallery=friends, node_id="4")  # pyright: ignore
        assert before == NODE.IS_CHANGED(gallery=friends, node_id="4")  # pyright: ignore
        self_again = NODE_CLASS_MAPPINGS["FastFaceGalleryAdd"]()
        self_again.add(gallery=friends, name="Al", embedding=Embedding(PEOPLE[:1], "people"))
        assert before != NODE.IS_CHANGED(gallery=friends, node_id="4")  # pyright: ignore


class TestKeypoints:
    def test_are_those_of_instantid(self, only):
        pictures = only("keypoints", which="largest", smooth=0.0)
        landmarks = two_people().faces.landmarks[0].numpy()  # pyright: ignore
        expected = torch.from_numpy(draw_keypoints(landmarks, SIZE_HW)).float() / 255
        assert pictures.shape == (COUNT, *SIZE_HW, 3)
        assert torch.equal(pictures, expected.expand_as(pictures))

    @pytest.mark.parametrize(
        "missing, black", [("black", list(GAP)), ("interpolate", []), ("previous", [])]
    )
    def test_where_the_face_is_missing(self, only, missing: str, black: list[int]):
        pictures = only("keypoints", which="ids", ids="1", missing=missing)
        assert [i for i, picture in enumerate(pictures) if not picture.any()] == black

    def test_all_people_are_drawn(self, only):
        both = only("keypoints", which="all", smooth=0.0)
        each = [only("keypoints", which="ids", ids=number, smooth=0.0) for number in "01"]
        assert torch.equal(both, torch.maximum(*each))

    def test_nobody_is_black(self, only):
        empty = link(Faces.empty([SIZE_HW] * 2), [0, 0.1], [0, 1], two_people().source)
        assert not only("keypoints", tracks=empty).any()

    def test_without_landmarks_it_says_what_to_do(self, only):
        tracks = two_people()
        bare = Tracks(
            tracks.faces.with_fields(landmarks=None), tracks.ids, tracks.frames, tracks.times,
            tracks.source,
        )  # fmt: skip
        with pytest.raises(ModelError, match="choose a pack whose detector has them"):
            only("keypoints", tracks=bare)
        assert len(only("faces", tracks=bare)) == COUNT


class TestFacesAndMasks:
    def test_filled_faces_have_no_score_and_lie_on_the_way(self, only):
        faces = only("faces", which="ids", ids="1", smooth=0.0)
        assert faces.images_of_faces() == tuple(range(COUNT))
        assert faces.image_index.tolist() == list(range(COUNT))
        assert faces.scores[list(GAP)].tolist() == [0.0] * 3 and (faces.scores[:5] > 0).all()
        assert torch.allclose(faces.boxes[:, 0], 90.0 + 2 * torch.arange(COUNT))
        assert torch.equal(faces.embeddings, PEOPLE[1:].expand(COUNT, -1))

    def test_as_found_they_are_the_very_faces(self, only):
        faces = only("faces", which="all", smooth=0.0, missing="black")
        assert torch.equal(faces.boxes, two_people().faces.boxes)
        assert torch.equal(faces.landmarks, two_people().faces.landmarks)

    def test_the_order_within_a_frame_is_that_of_the_ids(self, only):
        faces = only("faces", which="ids", ids="1,0", missing="black")
        assert faces.boxes[0, 0] > faces.boxes[1, 0]

    @pytest.mark.parametrize("shape", ["box", "ellipse"])
    def test_masks(self, only, shape: str):
        masks = only("mask", which="largest", mask_shape=shape, smooth=0.0)
        assert masks.shape == (COUNT, *SIZE_HW)
        area = masks[0].sum().item()
        assert area == 50 * 60 if shape == "box" else area == pytest.approx(2356, rel=0.02)


class TestPictures:
    def test_crops_of_one_person(self, only):
        crops = only("crops", images=film(), which="ids", ids="1", missing="black", crop_size=32)
        assert crops.shape == (COUNT, 32, 32, 3)
        assert [i for i, crop in enumerate(crops) if not crop.any()] == list(GAP)

    def test_crops_are_those_of_fastface_crop(self, only):
        images = film()
        faces, crops = only("faces", "crops", images=images, crop_size=48, smooth=0.0)
        expected = NODE_CLASS_MAPPINGS["FastFaceCrop"]().crop(images, faces, size=48)["result"][0]
        assert torch.allclose(crops, expected, atol=2 / 255)

    def test_crops_of_several_people_come_frame_by_frame(self, only):
        crops = only("crops", images=film(), which="all", crop_size=16)
        each = [
            only("crops", images=film(), which="ids", ids=number, crop_size=16) for number in "01"
        ]
        assert torch.equal(crops, torch.stack(each, 1).flatten(0, 1))

    def test_the_best_face_is_the_sharpest_of_equals(self, only):
        images = film()
        best, faces = only("best_images", "best_faces", images=images, which="all")
        assert best.shape == (2, *SIZE_HW, 3) and len(faces) == 2
        assert torch.equal(best[0], images[-1])  # the later, the sharper
        assert faces.images_of_faces() == (0, 1) and faces.image_sizes == (SIZE_HW,) * 2
        cropped = NODE_CLASS_MAPPINGS["FastFaceCrop"]().crop(best, faces, size=16)["result"]
        assert cropped[2] == 2

    @pytest.mark.parametrize("name", ["crops", "annotated_video", "best_images", "best_faces"])
    def test_frames_that_are_not_at_hand_are_asked_for(self, only, name: str):
        with pytest.raises(InvalidInput, match="connect that batch to images"):
            only(name)

    def test_other_frames_are_refused(self, only):
        with pytest.raises(InvalidInput, match="at least 12 of 160 x 120"):
            only("crops", images=film(11))
        with pytest.raises(InvalidInput, match="got 12 frames of 80 x 120"):
            only("crops", images=film()[:, :, :80])

    def test_nobody_gives_nothing(self, only):
        nobody = {"which": "all", "reference": Embedding(-PEOPLE[1:], "people"), "images": film()}
        names = ("crops", "best_images", "best_faces", "mask")
        crops, images, faces, masks = only(*names, **nobody)
        assert len(crops) == len(images) == len(faces) == 0 and not masks.any()


class TestFilms:
    @pytest.fixture
    def av(self) -> Any:
        return pytest.importorskip("av")

    @pytest.fixture
    def file(self, av: Any, tmp_path: Path) -> Path:
        """A film of uneven times with sound; see `tests/utils/video/test_encode.py`."""
        from fastface.utils.video.encode import Sound, write_film
        from tests.utils.video.test_encode import film_with_sound

        sound = film_with_sound(tmp_path / "sound.mp4", seconds=1.3)
        pictures = (film() * 255).round().byte().numpy()
        write_film(
            tmp_path / "film.mp4",
            ((t, picture) for t, picture in zip(self.TIMES, pictures, strict=True)),
            SIZE_HW,
            Fraction(RATE),
            Sound(sound),
        )
        return tmp_path / "film.mp4"

    TIMES = tuple(frame / RATE + 0.03 * (frame % 3) for frame in range(COUNT))

    def tracks(self, file: Path, step: int = 1, first: int = 0) -> Tracks:
        from fastface.utils.video.film import FilmFile

        read = FilmFile(file)
        whole = two_people(path=str(file), content=read.content)
        frames = list(range(first, COUNT, step))
        faces = whole.faces.of_images(frames)
        return link(faces, read.times[frames].tolist(), frames, whole.source)

    def test_the_keypoint_film_has_the_frames_times_and_sound(self, av, only, file: Path):
        from tests.utils.video.test_encode import read, sound_packets

        path = Path(only("keypoint_video", tracks=self.tracks(file), which="all", smooth=0.0))
        times, pictures = read(path)
        assert np.allclose(times, self.TIMES, atol=1e-4)
        assert [data for _, data in sound_packets(path)] == [d for _, d in sound_packets(file)]
        expected = only("keypoints", tracks=self.tracks(file), which="all", smooth=0.0)
        difference = np.stack(pictures).astype(float) - expected.numpy() * 255
        assert np.abs(difference).mean() < 2

    def test_frames_that_were_not_analysed_are_there_too(self, av, only, file: Path):
        from tests.utils.video.test_encode import read

        path = Path(only("keypoint_video", tracks=self.tracks(file, 4), which="largest"))
        times, pictures = read(path)
        assert np.allclose(times, self.TIMES, atol=1e-4)
        assert all(picture.max() > 100 for picture in pictures)

    def test_of_a_part_begins_at_nought(self, av, only, file: Path):
        from tests.utils.video.test_encode import read, sound_packets

        path = Path(only("keypoint_video", tracks=self.tracks(file, first=6)))
        times, _ = read(path)
        assert np.allclose(times, np.array(self.TIMES[6:]) - self.TIMES[6], atol=1e-4)
        assert sound_packets(path)[0][0] == pytest.approx(0, abs=0.05)

    def test_the_annotated_film_shows_the_frames_with_boxes(self, av, only, file: Path):
        from tests.utils.video.test_encode import read

        tracks = self.tracks(file)
        path = Path(only("annotated_video", tracks=tracks, which="all", names="0=Anna, 1=Ben"))
        times, pictures = read(path)
        assert np.allclose(times, self.TIMES, atol=1e-4)
        changed = np.abs(pictures[0].astype(int) - read(file)[1][0]).max(-1) > 60
        assert changed[20:80, 8:13].any() and not changed[100:, :].any()

    def test_crops_come_from_the_file(self, av, only, file: Path):
        crops = only("crops", tracks=self.tracks(file), crop_size=24)
        expected = only("crops", tracks=self.tracks(file), images=film(), crop_size=24)
        assert (crops - expected).abs().mean() < 0.05

    def test_a_film_that_was_changed_is_refused(self, av, only, file: Path):
        tracks = self.tracks(file)
        file.write_bytes((file.parent / "sound.mp4").read_bytes())
        with pytest.raises(InvalidInput, match="run FastFace Video again"):
            only("annotated_video", tracks=tracks)

    def test_of_images_without_a_file(self, av, only):
        from tests.utils.video.test_encode import read

        path = Path(only("annotated_video", images=film(), which="all"))
        assert np.allclose(read(path)[0], np.arange(COUNT) / RATE, atol=1e-4)
        path = Path(only("keypoint_video", which="all"))
        assert np.allclose(read(path)[0], np.arange(COUNT) / RATE, atol=1e-4)


class TestTaken:
    def test_what_nobody_takes_is_not_made(self, only, monkeypatch: pytest.MonkeyPatch):
        made = []
        for name in ("keypoints", "mask", "crops", "annotated_video", "keypoint_video", "_best"):
            monkeypatch.setattr(PeopleOfFilm, name, lambda *_, name=name: made.append(name))
        assert only("info").startswith("0: 12 of 12 frames, 0.00 to 1.10 s, 55 pixels")
        assert made == []
        only("info", "mask")
        assert made == ["mask"]

    def test_the_text_lists_all_tracks(self, only, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(node_module, "taken_outputs", lambda *_: frozenset())
        answer = NODE().show(two_people(), which="ids", ids="1", names="1=Ben")  # pyright: ignore
        (text,) = answer["ui"]["text"]
        assert text.splitlines() == [
            "tracks shown: 1",
            "0: 12 of 12 frames, 0.00 to 1.10 s, 55 pixels",
            "1 Ben: 9 of 12 frames, 0.00 to 1.10 s, 33 pixels",
        ]
        assert len(answer["result"]) == len(PLACES)

    def test_it_runs_again_when_another_output_is_taken(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(node_module, "taken_outputs", lambda *_: frozenset({2, 0}))
        assert NODE.IS_CHANGED(node_id="4", tracks=None) == "0,2"  # pyright: ignore
        monkeypatch.setattr(node_module, "taken_outputs", lambda *_: None)
        unknown = NODE.IS_CHANGED(node_id="4")  # pyright: ignore
        assert unknown != unknown
