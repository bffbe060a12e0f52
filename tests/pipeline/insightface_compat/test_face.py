"""`Face`: a dict whose fields are also attributes, some of them worked out when first read."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.face import Face
from fastface.utils.errors import FieldUnavailable, InvalidInput


class Source:
    """Gives `a` and `b` together and `c` alone, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def read(self, row: int, key: str) -> Mapping[str, Any]:
        self.asked.append((row, key))
        return {"c": 3} if key == "c" else {"a": 1, "b": 2}


def lazy_face() -> tuple[Face, Source]:
    face, source = Face(bbox=np.zeros(4)), Source()
    face.expect(["a", "b", "c"], source, 7)
    return face, source


@pytest.mark.parametrize("face", [Face(), Face(None), Face({})])
def test_an_empty_face(face: Face):
    assert len(face) == 0 and not face and dict(face) == {}
    assert face.bbox is None and face.embedding is None
    assert face.normed_embedding is face.embedding_norm is face.sex is None
    with pytest.raises(KeyError):
        face["bbox"]
    with pytest.raises(KeyError):
        face.popitem()


@pytest.mark.parametrize(
    "write",
    [
        lambda face: setattr(face, "x", 5),
        lambda face: face.__setitem__("x", 5),
        lambda face: face.update(x=5),
        lambda face: face.update({"x": 5}),
        lambda face: face.setdefault("x", 5),
        lambda face: face.__ior__({"x": 5}),
        lambda face: face.__init__({"x": 4}, x=5),
    ],
)
def test_items_and_attributes_are_one(write: Callable[[Face], Any]):
    face = Face()
    write(face)
    assert face["x"] == face.x == face.get("x") == 5 and "x" in face
    del face.x
    assert "x" not in face and not hasattr(face, "x")
    with pytest.raises(AttributeError):
        del face.x


def test_nested_dicts_become_faces_as_upstream():
    face = Face(inner={"x": 1}, many=({"y": 2}, 3))
    assert type(face.inner) is Face and face.inner.x == 1
    assert isinstance(face.many, list) and face.many[0].y == 2 and face.many[1] == 3


#: What Python, numpy, torch and ComfyUI's cores ask objects for.
PROTOCOLS = [
    *("__array__", "__deepcopy__", "__fspath__", "__cuda_array_interface__", "__torch_function__"),
    *("is_dynamic", "get_ram_usage", "get_models", "patcher", "model", "value", "outputs", "ui"),
    *("shape", "dtype", "device", "cpu", "to", "numpy", "tolist", "samples", "_repr_html_"),
]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_protocol_is_found_where_there_is_none(name: str):
    """A field that is missing may read None, but None must not be taken for a method."""
    face = Face(bbox=np.zeros(4), embedding=np.ones(4))
    assert not hasattr(face, name)
    with pytest.raises(AttributeError, match=rf"no '{name}'.*face.get"):
        getattr(face, name)


def test_numpy_takes_it_for_one_object():
    assert np.asarray(Face(), dtype=object).shape == ()


@pytest.mark.parametrize(
    "name",
    [
        *("bbox", "kps", "det_score", "embedding", "pose", "gender", "age", "liveness"),
        *("landmark_2d_106", "landmark_3d_68", "landmark_2d_5", "verification_score"),
        *("embedding_norm", "normed_embedding", "sex"),
    ],
)
def test_fields_of_insightface_read_none_when_unset(name: str):
    face = Face()
    assert hasattr(face, name) and getattr(face, name) is None
    assert name not in face and face.get(name) is None
    with pytest.raises(KeyError):
        face[name]


def test_fields_of_the_nested_liveness_read_none():
    face = Face(liveness={"status": "ok", "is_live": True})
    assert face.liveness.is_live is True and face.liveness.reason is None


def test_a_field_of_a_consumers_own_is_one_once_it_is_set():
    face = Face()
    assert not hasattr(face, "mask_offsets") and getattr(face, "mask_offsets", 7) == 7
    face.mask_offsets = (1, 2)
    assert face.mask_offsets == [1, 2]


def test_derived_fields():
    face = Face(embedding=np.array([3.0, 4.0], np.float32), gender=1)
    assert face.embedding_norm == 5
    assert np.allclose(face.normed_embedding, [0.6, 0.8])
    assert face.sex == "M" and Face(gender=0).sex == "F"


def test_a_field_brings_those_that_come_with_it_and_no_other():
    face, source = lazy_face()
    assert list(face) == ["bbox", "a", "b", "c"] and source.asked == []
    assert repr(face).count("<not read yet>") == 3
    assert (face.b, face["a"], face.b) == (2, 1, 2)
    assert source.asked == [(7, "b")]
    assert face.c == 3 and len(source.asked) == 2


def test_what_was_written_is_not_overwritten_by_reading():
    face, source = lazy_face()
    face.a = "mine"
    assert face.b == 2 and face.a == "mine"
    assert source.asked == [(7, "b")]


def test_what_was_deleted_does_not_come_back():
    face, source = lazy_face()
    del face["a"]
    assert face.b == 2 and "a" not in face and not hasattr(face, "a")
    assert source.asked == [(7, "b")]


@pytest.mark.parametrize("key", ["a", "c"])
def test_pop_gives_the_value(key: str):
    face, _ = lazy_face()
    assert face.pop(key) == {"a": 1, "c": 3}[key]
    assert key not in face
    assert face.pop(key, "none") == "none"
    with pytest.raises(KeyError):
        face.pop(key)


def test_popitem_gives_the_last_value():
    face, _ = lazy_face()
    assert face.popitem() == ("c", 3)
    assert list(face) == ["bbox", "a", "b"]


def test_the_source_is_let_go_when_nothing_is_left_to_read():
    import weakref

    face, source = lazy_face()
    watch = weakref.ref(source)
    del source
    assert face.a == 1 and watch() is not None
    assert face.c == 3 and watch() is None
    assert face.copy().keys() == {"bbox", "a", "b", "c"}


def test_a_source_that_fails_is_asked_again():
    class Failing(Source):
        def read(self, row: int, key: str) -> Mapping[str, Any]:
            if not self.asked:
                self.asked.append((row, key))
                raise RuntimeError("out of memory")
            return super().read(row, key)

    face = Face()
    face.expect(["a"], Failing(), 0)
    with pytest.raises(RuntimeError, match="out of memory"):
        face.a  # noqa: B018
    assert face.a == 1


@pytest.mark.parametrize("other", [{"a": 1, "c": 3}, Face(a=1, c=3)])
@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (lambda face, other: face == other, True),
        (lambda face, other: other == face, True),
        (lambda face, other: face != other, False),
        (lambda face, other: other != face, False),
        (lambda face, other: face == {**other, "a": 2}, False),
        (lambda face, other: face != {**other, "a": 2}, True),
        (lambda face, other: face == 5, False),
    ],
)
def test_comparing_compares_what_is_read(
    compare: Callable[[Any, Any], bool], expected: bool, other: Any
):
    face = Face()
    face.expect(["a", "c"], Source(), 0)
    assert compare(face, other) is expected


def test_a_fault_while_reading_is_not_taken_for_an_absent_field():
    class Faulty(Source):
        def read(self, row: int, key: str) -> Mapping[str, Any]:
            raise AttributeError("'NoneType' object has no attribute 'run'")

    face = Face()
    face.expect(["embedding", "gender"], Faulty(), 0)
    for name in ("embedding", "normed_embedding", "embedding_norm", "sex"):
        with pytest.raises(RuntimeError, match=r"can't be worked out.*'run'"):
            getattr(face, name, None)


def test_a_reason_is_told_to_who_reads_an_item(caplog: pytest.LogCaptureFixture):
    face = Face(bbox=np.zeros(4))
    face.explain({"embedding": "left out by heads", "age": "no such model"})
    for one in (face, copy.copy(face), copy.deepcopy(face), pickle.loads(pickle.dumps(face))):
        for key, reason in (("embedding", "left out by heads"), ("age", "no such model")):
            with pytest.raises(KeyError) as refused:
                one[key]
            assert str(refused.value) == reason and isinstance(refused.value, FieldUnavailable)
            with pytest.raises(KeyError):
                one.pop(key)
            # Everything else says that it is not there.
            assert key not in one and key not in one.keys() and key not in dict(one)  # noqa: SIM118
            assert one.get(key) is None and one.get(key, 7) == 7 and one.pop(key, 7) == 7
            assert getattr(one, key) is None
        assert one.normed_embedding is one.embedding_norm is one.sex is None
    (record,) = [record for record in caplog.records if record.name == "FastFace"]
    assert "embedding was read and is None: left out by heads" in record.getMessage()
    face.embedding = np.ones(4, np.float32)
    assert face["embedding"] is face.embedding


class TestRefused:
    @pytest.fixture
    def face(self) -> Face:
        face = Face(bbox=np.zeros(4))
        face.refuse("embedding", "no embedding: choose another pack")
        return face

    @pytest.mark.parametrize(
        "read",
        [
            lambda face: face.embedding,
            lambda face: face["embedding"],
            lambda face: face.get("embedding"),
            lambda face: face.get("embedding", None),
            lambda face: face.normed_embedding,
            lambda face: face.embedding_norm,
            lambda face: copy.copy(face).embedding,
            lambda face: copy.deepcopy(face).embedding,
            lambda face: pickle.loads(pickle.dumps(face)).embedding,
        ],
    )
    def test_reading_says_why(self, face: Face, read: Callable[[Face], Any]):
        with pytest.raises(InvalidInput, match="choose another pack"):
            read(face)

    def test_everything_else_goes_on(self, face: Face):
        assert "embedding" not in face and list(face) == ["bbox"]
        for name in ("embedding", "normed_embedding", "embedding_norm"):
            assert not hasattr(face, name)
        assert set(face.copy()) == set(dict(face)) == {"bbox"} and len(face.items()) == 1

    @pytest.mark.parametrize(
        "write",
        [
            lambda face: setattr(face, "embedding", 1),
            lambda face: face.__setitem__("embedding", 1),
            lambda face: face.update(embedding=1),
            lambda face: face.setdefault("embedding", 1),
            lambda face: face.__ior__({"embedding": 1}),
        ],
    )
    def test_what_a_consumer_writes_can_be_read(self, face: Face, write: Callable[[Face], Any]):
        write(face)
        assert face.embedding == face["embedding"] == 1
