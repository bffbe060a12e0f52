"""`Face`: a dict whose fields are also attributes, some of them worked out when first read."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fastface.backends.dropin.face import Face
from fastface.utils.errors import InvalidInput


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
    assert "x" not in face and face.x is None
    with pytest.raises(AttributeError):
        del face.x


def test_nested_dicts_become_faces_as_upstream():
    face = Face(inner={"x": 1}, many=({"y": 2}, 3))
    assert type(face.inner) is Face and face.inner.x == 1
    assert isinstance(face.many, list) and face.many[0].y == 2 and face.many[1] == 3


def test_python_finds_no_protocol_where_there_is_none():
    """Everything missing reads None, but None must not be taken for a method."""
    for name in ("__array__", "__deepcopy__", "__fspath__", "__cuda_array_interface__"):
        assert not hasattr(Face(), name)
    assert np.asarray(Face(), dtype=object).shape == ()


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
    assert face.b == 2 and "a" not in face and face.a is None
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
