"""Who is who in an album, and the page of it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import torch

from fastface.pipeline.album.album import Album, AlbumProgress
from fastface.pipeline.album.album_people import AlbumPeople
from fastface.pipeline.album.album_store import AlbumStore
from fastface.pipeline.album.found_files import FoundFile
from fastface.pipeline.album.records import FileRecord
from fastface.pipeline.album.sheet import write_sheet
from fastface.utils.faces import Faces
from fastface.utils.file_kinds import FileKind
from fastface.utils.gallery.contents import with_added
from fastface.utils.gallery.gallery_store import GalleryStore
from fastface.utils.pictures import square_thumbnail
from fastface.utils.text import one_line
from tests.utils.gallery.people import SPACE, person, vectors_of

THUMBNAIL = square_thumbnail(np.full((40, 40, 3), 128, np.uint8), (5, 5, 30, 30), 16)
#: Looks ahead; turned to the side.
AHEAD = [[0.3, 0.35], [0.7, 0.35], [0.5, 0.58], [0.35, 0.75], [0.65, 0.75]]
ASIDE = [[0.3, 0.35], [0.7, 0.35], [0.95, 0.58], [0.35, 0.75], [0.65, 0.75]]


def faces_of(*vectors: torch.Tensor, images: tuple[int, ...] | None = None, **wrong) -> Faces:
    count = len(vectors)
    images = images or (0,) * count
    side = wrong.get("side", 60.0)
    boxes = torch.tensor([[n * 70.0, 5.0, n * 70.0 + side, 5.0 + side] for n in range(count)])
    points = torch.tensor(ASIDE if wrong.get("aside") else AHEAD)
    return Faces(
        boxes=boxes,
        scores=torch.full((count,), wrong.get("score", 0.9)),
        image_index=torch.tensor(images, dtype=torch.int64),
        image_sizes=((100, 500),) * (max(images) + 1),
        landmarks=boxes[:, None, :2] + points * side,
        embeddings=torch.cat(vectors),
        embedding_space=SPACE,
    )


def record(path: str, faces: Faces, **more) -> FileRecord:
    thumbnails = (THUMBNAIL,) * len(faces)
    return replace(FileRecord(path, 1, 1, FileKind.PNG, faces=faces, thumbnails=thumbnails), **more)


def album_of(folder: Path, *records: FileRecord) -> Album:
    store = AlbumStore(folder / "parts", {})
    places = store.add(records)
    files = tuple(FoundFile(each.path) for each in records)
    return Album(folder / "album", files, AlbumProgress(len(files)), store, tuple(places))


def numbers(people: AlbumPeople, album: Album) -> list[list[int | None]]:
    return [[each.person for each in people.names(one)] for one in album.records()]


def test_people_are_found_over_files(tmp_path: Path):
    anna, ben = vectors_of(1, 3), vectors_of(2, 2)
    album = album_of(
        tmp_path,
        record("a.png", faces_of(anna[:1], ben[:1])),
        record("b.png", faces_of(ben[1:])),
        record("c.png", faces_of(anna[1:2])),
        record("d.png", faces_of(anna[2:])),
    )
    people = AlbumPeople(album, None, 0.3)
    assert numbers(people, album) == [[0, 1], [1], [0], [0]]
    assert [(len(each.faces), each.files) for each in people.people] == [(3, 3), (2, 2)]


def test_faces_that_tell_nobody_are_nobody(tmp_path: Path):
    anna = vectors_of(1, 4)
    album = album_of(
        tmp_path,
        record("small.png", faces_of(anna[:1], side=15.0)),
        record("aside.png", faces_of(anna[1:2], aside=True)),
        record("unsure.png", faces_of(anna[2:3], score=0.55)),
        record("good.png", faces_of(anna[3:])),
    )
    people = AlbumPeople(album, None, 0.3)
    assert numbers(people, album) == [[None], [None], [None], [0]] and people.unclear == 3


def test_tracks_of_films_stay_together(tmp_path: Path):
    strange = [vectors_of(n) for n in (1, 2, 3)]
    film = record(
        "film.mp4",
        faces_of(*strange, images=(0, 1, 2)),
        kind=FileKind.FILM,
        frames=(0, 25, 50),
        times=(0.0, 1.0, 2.0),
        tracks=(0, 0, -1),
    )
    album = album_of(tmp_path, film)
    people = AlbumPeople(album, None, 0.3)
    assert numbers(people, album) == [[0, 0, 1]]


def test_names_of_the_gallery_are_those_of_people(tmp_path: Path):
    store = GalleryStore(tmp_path / "gallery")
    store.change(lambda gallery: with_added(gallery, [person(1, 2)], SPACE))
    far = torch.nn.functional.normalize(vectors_of(1)) * 0.9
    far = far + 1.3 * torch.nn.functional.normalize(vectors_of(5))
    close = 0.7 * far + 0.5 * torch.nn.functional.normalize(vectors_of(1, 3)[2:])
    album = album_of(
        tmp_path,
        record("near.png", faces_of(vectors_of(1, 3)[2:])),
        record("close.png", faces_of(close)),
        record("other.png", faces_of(-vectors_of(1))),
    )
    people = AlbumPeople(album, store, 0.95)
    names = [people.names(one)[0] for one in album.records()]
    # The second is no match by itself, but one person with the first.
    assert [each.name for each in names] == ["person 1", "person 1", None]
    assert names[1].similarity is not None and names[1].similarity < 0.95
    assert names[0].person == names[1].person != names[2].person


def test_of_two_faces_in_a_picture_one_has_a_name(tmp_path: Path):
    store = GalleryStore(tmp_path / "gallery")
    store.change(lambda gallery: with_added(gallery, [person(1, 2)], SPACE))
    far = torch.nn.functional.normalize(vectors_of(1)) + torch.nn.functional.normalize(
        vectors_of(5)
    )
    pictures = record("two.png", faces_of(far, vectors_of(1, 3)[2:]))
    album = album_of(tmp_path, pictures)
    people = AlbumPeople(album, store, 0.5)
    (one,) = album.records()
    assert [each.name for each in people.names(one)] == [None, "person 1"]
    assert min(each.similarity or 0 for each in people.names(one)) > 0.5
    assert len(people.people) == 2


class Page(HTMLParser):
    """Tags, links and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else_and_takes_every_name(tmp_path: Path):
    anna = vectors_of(1, 3)
    odd = "<img src=x onerror=alert(1)>'\"&\n.png"
    names = [odd, "javascript:alert(1)", "50% off #1?.png"]
    if os.name != "nt":
        names.append(os.fsdecode(b"latin-\xe9.png"))
    pictures = [record(name, faces_of(anna[n % 3 :][:1])) for n, name in enumerate(names)]
    bad = FileRecord("<b>bad</b>.png", 1, 1, FileKind.PNG, problem="it is <i>damaged</i>")
    album = album_of(tmp_path, *pictures, bad)
    store = GalleryStore(tmp_path / "gallery")
    named = replace(person(1), name="<script>alert('Anna')</script>")
    store.change(lambda gallery: with_added(gallery, [named], SPACE))
    page_file = tmp_path / "output" / "people.html"
    write_sheet(page_file, album, AlbumPeople(album, store, 0.5))
    text = page_file.read_text(encoding="utf-8")
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "i", "link", "iframe"} & set(tags) and "onerror" not in {
        name for _, attributes in page.tags for name in attributes
    }
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == len(names)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert all(link.startswith("./../album/") for link in links)
    found = {unquote_to_bytes(link.removeprefix("./../album/")) for link in links}
    assert found == {os.fsencode(name) for name in names}
    titles = {attributes["title"] for tag, attributes in page.tags if tag == "a"}
    assert titles == {one_line(name) for name in names}
    assert "<script>alert('Anna')</script>" in page.texts
    assert "<b>bad</b>.png" in page.texts and "it is <i>damaged</i>" in page.texts
    assert not re.search(r"https?://", text)


def test_who_is_in_most_files_comes_first_on_the_page(tmp_path: Path):
    anna, ben = vectors_of(1, 5), vectors_of(2, 2)
    film = record(
        "film.mp4",
        faces_of(*anna.split(1), images=(0, 1, 2, 3, 4)),
        kind=FileKind.FILM,
        frames=(0, 1, 2, 3, 4),
        times=(0.0, 1.0, 2.0, 3.0, 4.0),
        tracks=(0,) * 5,
    )
    photos = [record(f"{n}.png", faces_of(ben[n : n + 1])) for n in range(2)]
    album = album_of(tmp_path, film, *photos)
    people = AlbumPeople(album, None, 0.3)
    assert [len(each.faces) for each in people.people] == [5, 2]
    write_sheet(tmp_path / "people.html", album, people)
    texts = Page((tmp_path / "people.html").read_text(encoding="utf-8")).texts
    counts = [text for text in texts if " in " in text and text[0].isdigit()]
    assert counts[1:] == ["2 faces in 2 files", "5 faces in 1 file"]
