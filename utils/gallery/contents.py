"""`Gallery`: who is in it; and what can be changed about that, each giving another one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..text import readable

_MOST_NAME_CHARACTERS = 200
#: Names that an error lists.
_MOST_NAMED = 8


@dataclass(frozen=True)
class Sample:
    """One embedding of somebody.

    Attributes:
        row: Its place in `Gallery.vectors`.
        origin: Where it comes from, for people.
    """

    row: int
    origin: str = ""


@dataclass(frozen=True)
class Identity:
    """One person, with at least one embedding."""

    name: str
    samples: tuple[Sample, ...]
    notes: str = ""


@dataclass(frozen=True)
class Addition:
    """Embeddings to add under a name.

    Attributes:
        name: Of a person, there already or not.
        vectors: `[K,D]` floating, K at least 1, not normalised.
        origins: One text each, or none at all.
        notes: Takes the place of the person's notes, if not empty.
    """

    name: str
    vectors: Tensor
    origins: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Named people.

    Attributes:
        identities: In the order in which they came.
        vectors: `[N,D]` float32 on the CPU, not normalised; rows that no identity names are gone.
        space: Names what the vectors may be compared with; None while there are none.
        facts: What else is known of what made them: `pack`, `content`, `origin`, `licence`.
    """

    identities: tuple[Identity, ...] = ()
    vectors: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    space: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.identities)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(identity.name for identity in self.identities)

    def place(self, name: str) -> int:
        """The place of a person among the identities.

        Raises:
            InvalidInput: There is nobody of that name.
        """
        names = self.names
        wanted = unicodedata.normalize("NFC", name.strip())
        if wanted in names:
            return names.index(wanted)
        like = difflib.get_close_matches(wanted, names, _MOST_NAMED) or names[:_MOST_NAMED]
        shown = ", ".join(map(repr, like)) or "nobody yet"
        raise InvalidInput(f"got the name {name!r}, which is not in the gallery; there are {shown}")

    def of(self, identity: Identity) -> Tensor:
        """The embeddings of one person, `[K,D]`."""
        return self.vectors[[sample.row for sample in identity.samples]]

    def require_space(self, space: str | None) -> None:
        """Refuses embeddings that can't be compared with those here.

        Raises:
            InvalidInput: They are of another space.
        """
        if self.space is not None and space != self.space:
            raise InvalidInput(
                f"got embeddings of {space!r}, but the gallery is of {self.space!r}, and these "
                "can't be compared; use the model pack that the gallery was made with, or another "
                "gallery"
            )

    def compact(self) -> Gallery:
        """The same people, with no vectors but theirs."""
        order: list[int] = []
        identities = []
        for identity in self.identities:
            first = len(order)
            order += [sample.row for sample in identity.samples]
            samples = (
                replace(sample, row=first + place) for place, sample in enumerate(identity.samples)
            )
            identities.append(replace(identity, samples=tuple(samples)))
        return replace(self, identities=tuple(identities), vectors=self.vectors[order])


def checked_name(name: str) -> str:
    """A person's name as it is kept: without spaces around it, in one Unicode form.

    Raises:
        InvalidInput: It can't be one.
    """
    kept = unicodedata.normalize("NFC", name.strip())
    wrong = (
        "it is empty"
        if not kept
        else f"it has more than {_MOST_NAME_CHARACTERS} characters"
        if len(kept) > _MOST_NAME_CHARACTERS
        else "it has characters that are none of a name"
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in kept)
        else ""
    )
    if wrong:
        raise InvalidInput(f"got the name {name!r} for a person, but {wrong}; choose another name")
    return kept


def with_added(
    gallery: Gallery,
    additions: Sequence[Addition],
    space: str | None,
    facts: Mapping[str, str] | None = None,
) -> Gallery:
    """The gallery with more embeddings; what somebody has already is not added twice.

    The same gallery, itself, where all of it is there.

    Raises:
        InvalidInput: They are of another space or length than those here, hold NaN or infinity, or
            a name can't be one.
    """
    if space is None:
        raise InvalidInput("got embeddings of no known space; let FastFace Embed make them")
    gallery.require_space(space)
    people: dict[str, Identity] = {identity.name: identity for identity in gallery.identities}
    added: list[Tensor] = []
    row = len(gallery.vectors)
    for addition in additions:
        name = checked_name(addition.name)
        vectors = addition.vectors.detach().float().cpu().contiguous()
        _check_vectors(gallery, added, vectors)
        known = people.get(name, Identity(name, ()))
        seen = {gallery_row.numpy().tobytes() for gallery_row in _rows(gallery, added, known)}
        samples = list(known.samples)
        for place, vector in enumerate(vectors):
            if (content := vector.numpy().tobytes()) in seen:
                continue
            seen.add(content)
            origin = readable(addition.origins[place]) if addition.origins else ""
            samples.append(Sample(row, origin))
            added.append(vector)
            row += 1
        people[name] = Identity(name, tuple(samples), readable(addition.notes) or known.notes)
    if not added:
        identities = tuple(people.values())
        same = identities == gallery.identities
        return gallery if same else replace(gallery, identities=identities)
    new = torch.stack(added)
    vectors = torch.cat((gallery.vectors, new)) if len(gallery.vectors) else new
    facts = gallery.facts if gallery.facts or not facts else dict(facts)
    return Gallery(tuple(people.values()), vectors, space, facts)


def _rows(gallery: Gallery, added: Sequence[Tensor], identity: Identity) -> list[Tensor]:
    first = len(gallery.vectors)
    return [
        gallery.vectors[sample.row] if sample.row < first else added[sample.row - first]
        for sample in identity.samples
    ]


def _check_vectors(gallery: Gallery, added: Sequence[Tensor], vectors: Tensor) -> None:
    before = gallery.vectors if len(gallery.vectors) else (added[0][None] if added else vectors)
    if vectors.ndim != 2 or not vectors.numel() or vectors.shape[1] != before.shape[1]:
        raise InvalidInput(
            f"got embeddings of shape {tuple(vectors.shape)}, expected [K, {before.shape[-1]}] "
            "numbers, K at least 1; there is nobody to add without a face"
        )
    if not bool(vectors.isfinite().all()):
        raise InvalidInput(
            "got embeddings with NaN or infinite values; make them again with precision fp32 in "
            "FastFace Loader"
        )


def with_renamed(gallery: Gallery, name: str, new_name: str) -> Gallery:
    """The gallery with one person called otherwise.

    Raises:
        InvalidInput: There is nobody of the first name, or somebody of the other one.
    """
    place, kept = gallery.place(name), checked_name(new_name)
    if kept in gallery.names and gallery.names[place] != kept:
        raise InvalidInput(
            f"got the new name {new_name!r}, which somebody has; merge the two if they are one"
        )
    return _with(gallery, place, replace(gallery.identities[place], name=kept))


def with_merged(gallery: Gallery, name: str, into: str) -> Gallery:
    """The gallery with all embeddings of one person given to another, who keeps the name.

    Raises:
        InvalidInput: One of them is not there, or both are one.
    """
    place, target = gallery.place(name), gallery.place(into)
    if place == target:
        raise InvalidInput(f"got {name!r} to merge into itself; name two people")
    source, other = gallery.identities[place], gallery.identities[target]
    notes = "\n".join(filter(None, (other.notes, source.notes)))
    merged = Identity(other.name, (*other.samples, *source.samples), notes)
    changed = _with(gallery, target, merged)
    kept = (each for at, each in enumerate(changed.identities) if at != place)
    return replace(changed, identities=tuple(kept))


def with_deleted(gallery: Gallery, name: str) -> Gallery:
    """The gallery without one person, and without that person's embeddings.

    Raises:
        InvalidInput: There is nobody of that name.
    """
    place = gallery.place(name)
    kept = (each for at, each in enumerate(gallery.identities) if at != place)
    return replace(gallery, identities=tuple(kept)).compact()


def _with(gallery: Gallery, place: int, identity: Identity) -> Gallery:
    identities = list(gallery.identities)
    identities[place] = identity
    return replace(gallery, identities=tuple(identities))
