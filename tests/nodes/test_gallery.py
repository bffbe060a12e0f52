"""The gallery nodes, with embeddings that no network made and galleries in a folder of the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.info import FastFaceInfo
from fastface.pipeline.gallery_exchange import (
    REACTOR_SPACE,
    people_of_photos,
    photos_by_person,
)
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.embedding import Embedding
from fastface.utils.embedding_file import load_embedding
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.gallery.places import gallery_names, gallery_store
from fastface.utils.progress import heard_by
from tests.nodes.fakes import SIZE_HW, FakeBackend, images_with
from tests.pipeline.insightface_compat.test_facade import Detector
from tests.utils.gallery.people import SPACE, vectors_of


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faces_of(*people: int, space: str = SPACE, dim: int = 32) -> Faces:
    """One face a person, a photo each, that is none of those in the gallery."""
    vectors = torch.cat([vectors_of(number, 9, dim=dim)[8:] for number in people])
    count = len(people)
    return Faces(
        torch.tensor([[10.0, 10, 40, 40]] * count).reshape(-1, 4),
        torch.full((count,), 0.9),
        torch.arange(count),
        (SIZE_HW,) * count,
        embeddings=vectors,
        embedding_space=space,
    )


def run_node(node_id: str, **inputs: Any) -> tuple[Any, str]:
    made = NODE_CLASS_MAPPINGS[node_id]()
    answer = getattr(made, made.FUNCTION)(**inputs)
    return answer["result"], "".join(answer["ui"]["text"])


def add(name: str, number: int, gallery: str = "friends", **inputs: Any) -> str:
    embedding = Embedding(vectors_of(number), SPACE)
    inputs = {"embedding": embedding, "gallery": gallery, "name": name} | inputs
    return run_node("FastFaceGalleryAdd", **inputs)[1]


def search(*people: int, gallery: str = "friends", **inputs: Any) -> Any:
    return run_node("FastFaceGallerySearch", gallery=gallery, faces=faces_of(*people), **inputs)[0]


def edit(action: str, gallery: str = "friends", **inputs: Any) -> str:
    return run_node("FastFaceGalleryEdit", gallery=gallery, action=action, **inputs)[1]


def names(gallery: str = "friends") -> tuple[str, ...]:
    return gallery_store(gallery).read().names


class TestAdd:
    def test_people_with_several_embeddings(self):
        said = add("Anna", 0, notes="of the choir", origin="a.jpg")
        assert said == f"Anna has 1 embedding; gallery 'friends' holds 1 person of {SPACE}"
        assert add("Anna", 5).startswith("Anna has 2 embeddings")
        assert add("Anna", 5).startswith("Anna has 2 embeddings"), "not twice"
        assert add("Berta", 1).endswith(f"holds 2 people of {SPACE}")
        (anna, _) = gallery_store("friends").read().identities
        assert anna.notes == "of the choir" and anna.samples[0].origin == "a.jpg"
        assert gallery_names() == ["friends"]

    def test_faces(self):
        result, _ = run_node(
            "FastFaceGalleryAdd", gallery="friends", name="Anna", faces=faces_of(0, 5, 7)
        )
        assert result[:2] == ("friends", 1)
        assert len(gallery_store("friends").read().vectors) == 3

    def test_faces_without_embeddings_are_embedded(self, face_analysis: FaceAnalysis):
        images = images_with(1, 1)
        (faces, *_), _ = run_node(
            "FastFaceDetect", faceanalysis=face_analysis, images=images, annotate=False
        )
        inputs = {"gallery": "friends", "name": "Anna", "faces": faces}
        with pytest.raises(InvalidInput, match="connect FastFace Embed"):
            run_node("FastFaceGalleryAdd", **inputs)
        run_node("FastFaceGalleryAdd", **inputs, images=images, faceanalysis=face_analysis)
        gallery = gallery_store("friends").read()
        assert gallery.space == face_analysis.analyzer.embedding_space
        assert gallery.facts["pack"] == "fake" and len(gallery.facts["content"]) == 64

    def test_no_face_is_a_normal_result(self, face_analysis: FaceAnalysis):
        nobody = FastFaceEmbed().embed(face_analysis, images_with(0), "all")["result"]
        said = run_node("FastFaceGalleryAdd", gallery="friends", name="Anna", faces=nobody[0])[1]
        assert said == "no face of 'Anna': nothing was added" and gallery_names() == []

    @pytest.mark.parametrize(
        ("inputs", "match"),
        [
            ({"embedding": None}, "neither faces nor an embedding"),
            ({"gallery": "../secrets"}, "for a gallery"),
            ({"gallery": ""}, "for a gallery"),
            ({"name": " "}, "it is empty"),
            ({"embedding": Embedding(torch.ones(1, 32), "other@1")}, "can't be compared"),
        ],
    )
    def test_what_can_not_be_is_refused(self, inputs: dict[str, Any], match: str):
        add("Anna", 0)
        with pytest.raises(InvalidInput, match=match):
            add(**{"name": "Berta", "number": 1} | inputs)
        assert names() == ("Anna",) and gallery_names() == ["friends"]

    def test_a_loader_of_another_pack_is_refused(self, face_analysis: FaceAnalysis):
        with pytest.raises(InvalidInput, match="connect the loader that made them"):
            add("Anna", 0, faceanalysis=face_analysis)


class TestSearch:
    @pytest.fixture(autouse=True)
    def _people(self) -> None:
        for name, number in (("Anna", 0), ("Berta", 1), ("Clara", 2)):
            add(name, number)

    def test_names_and_similarities(self):
        faces, annotated, found, similarities, told, known = search(1, 77, 0)
        assert found == ["Berta", "unknown", "Anna"] and known == 2
        assert faces.names_of_faces() == ["Berta", None, "Anna"]
        assert similarities[0] > 0.8 > 0.5 > similarities[1]
        assert annotated.shape == (3, *SIZE_HW, 3) and annotated.any()
        first = json.loads(told)[0]
        assert (first["image"], first["face"], first["name"]) == (0, 0, "Berta")
        assert first["matches"][0]["name"] == "Berta"
        assert len(first["matches"]) == 3

    def test_top_k_and_threshold(self):
        faces, _, found, _, told, known = search(1, threshold=1.0, top_k=1)
        assert found == ["unknown"] and known == 0 and faces.names_of_faces() == [None]
        assert len(json.loads(told)[0]["matches"]) == 1
        assert search(77, threshold=-1.0)[2] != ["unknown"]

    def test_names_go_into_texts_and_drawings(self):
        faces, annotated, *_ = search(1)
        (text, *_), _ = run_node("FastFaceInfo", faces=faces)
        assert text.endswith(", Berta")
        records = json.loads(FastFaceInfo().tell(faces)["result"][1])
        assert records[0]["name"] == "Berta"
        plain = run_node("FastFaceMask", faces=faces_of(1))[0][3]
        named = run_node("FastFaceMask", faces=faces)[0][3]
        assert torch.equal(named, annotated) and not torch.equal(named, plain)

    def test_a_change_is_seen_at_once_and_runs_the_node_again(self):
        node_class = NODE_CLASS_MAPPINGS["FastFaceGallerySearch"]
        before = node_class.IS_CHANGED(gallery="friends")
        assert before == node_class.IS_CHANGED(gallery="friends") != ""
        edit("rename", name="Berta", new_name="Britta")
        assert node_class.IS_CHANGED(gallery="friends") != before
        assert search(1)[2] == ["Britta"]
        assert node_class.IS_CHANGED() == node_class.IS_CHANGED(gallery=["3", 0]) == ""

    def test_no_faces(self):
        nobody = faces_of(1)[:0]
        result, text = run_node("FastFaceGallerySearch", gallery="friends", faces=nobody)
        assert result[5] == 0 and text == "no face in 1 image: 0 known, of 0 people"

    def test_what_can_not_be_is_refused(self):
        with pytest.raises(InvalidInput, match="got gallery 'others', which is not there"):
            search(1, gallery="others")
        with pytest.raises(InvalidInput, match="can't be compared"):
            run_node(
                "FastFaceGallerySearch",
                gallery="friends",
                faces=faces_of(1, space="other@1"),
            )
        file = next(Path("models/fastface/galleries/friends").glob("vectors-*"))
        file.write_bytes(file.read_bytes()[:-1])
        edit_time = gallery_store("friends")
        (edit_time.folder / "gallery.json").touch()
        with pytest.raises(ModelError, match="is damaged"):
            search(1)


class TestEdit:
    @pytest.fixture(autouse=True)
    def _people(self) -> None:
        for name, number in (("Anna", 0), ("Berta", 1), ("Clara", 2)):
            add(name, number)

    def test_list(self):
        assert edit("list").splitlines() == [
            f"3 people of {SPACE}",
            "Anna: 1 embedding",
            "Berta: 1 embedding",
            "Clara: 1 embedding",
        ]

    def test_rename_merge_delete_and_undo(self):
        assert edit("rename", name="Anna", new_name="Hanna") == "Anna is Hanna now"
        said = edit("merge", name="Berta", new_name="Hanna")
        assert said == "Berta is Hanna, who has 2 embeddings now"
        assert edit("delete", name="Clara").startswith("Clara is deleted")
        assert names() == ("Hanna",)
        assert edit("undo") == "the last change is taken back: 2 people now"
        assert names() == ("Hanna", "Clara")

    def test_export_embeddings(self):
        add("CON", 4)
        said = edit("export embeddings")
        assert said.splitlines()[0] == (
            "3 embeddings kept in models/fastface/embeddings; 1 left out:"
        )
        assert "CON: Windows" in said
        embedding, _ = load_embedding(Path("models/fastface/embeddings/Anna.safetensors"))
        assert embedding.space == SPACE and torch.allclose(embedding.vector, vectors_of(0))

    def test_only_a_list_is_made_again(self):
        node_class = NODE_CLASS_MAPPINGS["FastFaceGalleryEdit"]
        assert node_class.IS_CHANGED(gallery="friends", action="undo") == ""
        before = node_class.IS_CHANGED(gallery="friends", action="list")
        edit("delete", name="Anna")
        assert node_class.IS_CHANGED(gallery="friends", action="list") != before

    @pytest.mark.parametrize(
        ("inputs", "match"),
        [
            ({"action": "list", "gallery": "others"}, "there are: 'friends'"),
            ({"action": "rename", "name": "Dora", "new_name": "D"}, "not in the gallery"),
            ({"action": "delete"}, "not in the gallery"),
            ({"action": "import photos", "folder": "people"}, "no faceanalysis"),
            ({"action": "import face models"}, "no face model in models/reactor/faces"),
            ({"action": "export face models"}, "can't be compared"),
            ({"action": "explode"}, "expected one of list"),
        ],
    )
    def test_what_can_not_be_is_refused(self, inputs: dict[str, Any], match: str):
        with pytest.raises(InvalidInput, match=match):
            edit(**inputs)
        assert names() == ("Anna", "Berta", "Clara")


def photo(path: Path, faces: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*SIZE_HW, 3), 127, np.uint8)
    pixels[0, 0, 0] = faces
    Image.fromarray(pixels).save(path)


class TestPhotos:
    def test_whose_they_are(self, tmp_path: Path):
        for name in (
            *("Anna/1.jpg", "Anna/in/2.PNG", "berta.jpg", "berta_2.png", "berta (3).webp"),
            *("Clara Bow-04.jpg", "7.jpg", "notes.txt", "Dora/notes.md"),
        ):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        found = [name for name, _ in photos_by_person(tmp_path)]
        assert sorted(found) == ["7", "Anna", "Anna", "Clara Bow", "berta", "berta", "berta"]

    def test_the_largest_face_of_each_is_brought_in(self, face_analysis: FaceAnalysis):
        backend = face_analysis.analyzer.backend
        assert isinstance(backend, FakeBackend)
        backend.detector = Detector()
        photo(Path("input/people/Anna/1.png"), 1)
        photo(Path("input/people/Anna/2.png"), 3)
        photo(Path("input/people/Berta.png"), 2)
        photo(Path("input/people/nobody.png"), 0)
        Path("input/people/broken.jpg").write_bytes(b"no picture")
        said = edit("import photos", folder="people", faceanalysis=face_analysis)
        lines = said.splitlines()
        assert lines[0] == "3 faces of 2 people brought in; 2 left out:"
        assert "nobody.png: no face was found in it" in lines
        assert any(line.startswith("broken.jpg: it can't be read") for line in lines)
        gallery = gallery_store("friends").read()
        assert gallery.names == ("Anna", "Berta")
        assert [each.origin for each in gallery.identities[0].samples] == [
            "Anna/1.png",
            "Anna/2.png",
        ]
        # The fake network's first number is the area of the box.
        assert gallery.vectors[:, 0].tolist() == [600, 1600, 600]

    def test_it_can_be_left_before_every_photo(self, face_analysis: FaceAnalysis):
        for number in range(5):
            photo(Path(f"input/people/{number}.png"), 1)
        asked = 0

        def count(_done: float) -> None:
            nonlocal asked
            asked += 1

        with heard_by(count):
            photos_by_person(Path("input/people"))
            listing, asked = asked, 0
            people_of_photos(face_analysis, Path("input/people"))
        assert listing >= 1 and asked >= listing + 5

    @pytest.mark.parametrize(
        ("folder", "match"),
        [("nowhere", "not in ComfyUI's input folder"), ("../x", "but of '..'"), ("", "but of ''")],
    )
    def test_folders_that_are_none(self, face_analysis: FaceAnalysis, folder: str, match: str):
        with pytest.raises(InvalidInput, match=match):
            edit("import photos", folder=folder, faceanalysis=face_analysis)

    def test_an_empty_folder(self, face_analysis: FaceAnalysis):
        Path("input/people").mkdir(parents=True)
        with pytest.raises(InvalidInput, match="in which no photo lies"):
            edit("import photos", folder="people", faceanalysis=face_analysis)


class TestFaceModels:
    @pytest.fixture
    def folder(self) -> Path:
        folder = Path("models/reactor/faces")
        folder.mkdir(parents=True)
        for name, number in (("Anna", 0), ("Berta", 1)):
            fields = {
                "bbox": torch.arange(4.0),
                "embedding": vectors_of(number, dim=512)[0],
                "age": torch.tensor(30),
            }
            save_file(fields, folder / f"{name}.safetensors")
        return folder

    def test_in_and_out_again(self, folder: Path):
        (folder / "broken.safetensors").write_bytes(b"x")
        save_file({"embedding": torch.ones(4)}, folder / "small.safetensors")
        said = edit("import face models", gallery="reactor")
        assert said.splitlines()[0] == "2 faces of 2 people brought in; 2 left out:"
        gallery = gallery_store("reactor").read()
        assert gallery.names == ("Anna", "Berta") and gallery.space == REACTOR_SPACE
        another = Embedding(vectors_of(9, dim=512), REACTOR_SPACE)
        add("Anna", 0, "reactor", embedding=another)
        add("Clara", 0, "reactor", embedding=another)
        said = edit("export face models", gallery="reactor")
        assert said.startswith("2 face models of ReActor renewed; 1 left out:\nClara: ")
        fields = load_file(folder / "Anna.safetensors")
        mean = (vectors_of(0, dim=512)[0] + vectors_of(9, dim=512)[0]) / 2
        assert torch.allclose(fields["embedding"], mean)
        assert np.array_equal(fields["bbox"].numpy(), np.arange(4)) and int(fields["age"]) == 30

    def test_the_space_is_that_of_buffalo_l(self):
        assert REACTOR_SPACE == "w600k_r50@4c06341c33c2"
