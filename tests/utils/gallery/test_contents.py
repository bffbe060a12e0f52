from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastface.utils.errors import InvalidInput
from fastface.utils.gallery.contents import (
    Addition,
    Gallery,
    with_added,
    with_deleted,
    with_merged,
    with_renamed,
)
from fastface.utils.gallery.gallery_store import GalleryStore
from tests.utils.gallery.people import SPACE, person, vectors_of

FACTS = {"pack": "buffalo_l", "content": "0123"}


@pytest.fixture
def gallery() -> Gallery:
    return with_added(Gallery(), [person(0, 3), person(1), person(2, 2)], SPACE, FACTS)


def test_nobody_to_begin_with():
    empty = Gallery()
    assert len(empty) == 0 and empty.names == () and empty.space is None


def test_people_are_added_with_several_embeddings(gallery: Gallery):
    assert gallery.names == ("person 0", "person 1", "person 2")
    assert gallery.space == SPACE and dict(gallery.facts) == FACTS
    assert torch.equal(gallery.of(gallery.identities[2]), vectors_of(2, 2))
    assert [sample.origin for sample in gallery.identities[0].samples] == [
        "photo 0",
        "photo 1",
        "photo 2",
    ]


def test_more_of_somebody_comes_to_what_is_there_and_nothing_comes_twice(gallery: Gallery):
    more = Addition(" person 1 ", torch.cat((vectors_of(1), vectors_of(9))), ("a", "b"), "notes")
    twice = with_added(gallery, [more, more], SPACE)
    assert twice.names == gallery.names and len(twice.vectors) == len(gallery.vectors) + 1
    assert torch.equal(twice.of(twice.identities[1]), torch.cat((vectors_of(1), vectors_of(9))))
    assert twice.identities[1].notes == "notes" and dict(twice.facts) == FACTS
    assert [sample.origin for sample in twice.identities[1].samples] == ["photo 0", "b"]


def test_names_of_two_unicode_forms_are_one():
    one = Addition("Ame\u0301lie", vectors_of(1))
    other = Addition("Am\u00e9lie", vectors_of(2))
    assert with_added(Gallery(), [one, other], SPACE).names == ("Am\u00e9lie",)


def test_renamed(gallery: Gallery):
    changed = with_renamed(gallery, "person 1", " Anna ")
    assert changed.names == ("person 0", "Anna", "person 2")
    assert with_renamed(changed, "Anna", "Anna").names == changed.names


def test_merged(gallery: Gallery):
    gallery = with_added(gallery, [replace(person(2), notes="of 2")], SPACE)
    changed = with_merged(gallery, "person 2", "person 0")
    assert changed.names == ("person 0", "person 1")
    both = torch.cat((vectors_of(0, 3), vectors_of(2, 2)))
    assert torch.equal(changed.of(changed.identities[0])[:5], both)
    assert changed.identities[0].notes == "of 2"


def test_deleted_people_leave_no_vector(gallery: Gallery):
    changed = with_deleted(gallery, "person 0")
    assert changed.names == ("person 1", "person 2") and len(changed.vectors) == 3
    assert torch.equal(changed.of(changed.identities[1]), vectors_of(2, 2))
    nobody = with_deleted(with_deleted(changed, "person 1"), "person 2")
    assert nobody.names == () and len(nobody.vectors) == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g: with_renamed(g, "Anna", "Berta"), "got the name 'Anna', .*'person 0'"),
        (lambda g: with_renamed(g, "person 0", "person 1"), "which somebody has"),
        (lambda g: with_renamed(g, "person 0", " "), "it is empty"),
        (lambda g: with_renamed(g, "person 0", "a\nb"), "none of a name"),
        (lambda g: with_renamed(g, "person 0", "x" * 201), "more than 200"),
        (lambda g: with_merged(g, "person 0", "person 0"), "into itself"),
        (lambda g: with_merged(g, "person 0", "nobody"), "not in the gallery"),
        (lambda g: with_deleted(g, "nobody"), "not in the gallery"),
        (lambda g: with_added(g, [person(5)], "other@1"), "can't be compared"),
        (lambda g: with_added(g, [person(5)], None), "no known space"),
        (lambda g: with_added(g, [Addition("a", torch.ones(1, 5))], SPACE), r"shape \(1, 5\)"),
        (lambda g: with_added(g, [Addition("a", torch.ones(0, 32))], SPACE), r"shape \(0, 32\)"),
        (lambda g: with_added(g, [Addition("a", torch.ones(32))], SPACE), r"shape \(32,\)"),
        (
            lambda g: with_added(g, [Addition("a", torch.full((1, 32), torch.nan))], SPACE),
            "NaN or infinite",
        ),
    ],
)
def test_what_can_not_be_is_refused(
    gallery: Gallery, change: Callable[[Gallery], Gallery], match: str
):
    with pytest.raises(InvalidInput, match=match):
        change(gallery)
    assert gallery.names == ("person 0", "person 1", "person 2")


def test_notes_of_any_characters_can_be_kept(tmp_path: Path):
    odd = replace(person(0), notes="a\ud800b\0", origins=("\udcff",))
    store = GalleryStore(tmp_path / "odd")
    store.change(lambda old: with_added(old, [odd], SPACE))
    (identity,) = store.read().identities
    assert identity.notes.startswith("a") and identity.samples[0].origin
