"""`Faces`: what was found in a batch of images, as parallel tensors on one device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .devices import uploaded
from .errors import InvalidInput

#: Shape of one row of each tensor field; None where any length will do.
_ROW_SHAPES: dict[str, tuple[int | None, ...]] = {
    "boxes": (4,),
    "scores": (),
    "image_index": (),
    "landmarks": (5, 2),
    "embeddings": (None,),
    "landmarks_106": (106, 2),
    "landmarks_68": (68, 3),
    "pose": (3,),
    "gender": (),
    "age": (),
    "verification": (),
    "identity": (),
}
_ALWAYS_THERE = frozenset({"boxes", "scores", "image_index"})
_INTEGER_FIELDS = frozenset({"image_index", "gender", "age", "identity"})


def empty_rows(name: str, embedding_dim: int, device: torch.device | str) -> Tensor:
    """The tensor of a field of `Faces` for no faces at all."""
    shape = [embedding_dim if side is None else side for side in _ROW_SHAPES[name]]
    dtype = torch.int64 if name in _INTEGER_FIELDS else torch.float32
    return torch.zeros(0, *shape, dtype=dtype, device=device)


@dataclass(frozen=True, eq=False, repr=False)
class Faces:
    """The faces of a batch of images: flat, parallel tensors, all on one device.

    Rows are grouped by image in the order of the batch; within an image they keep the order of the
    detector (best score first). Validation reads shapes, dtypes and devices only: no GPU sync.

    Attributes:
        boxes: `[N,4]` float32, left, top, right, bottom in pixels of the source image; may reach
            beyond its border, as InsightFace's do.
        scores: `[N]` float32, 0..1.
        image_index: `[N]` int64, the image of each face, 0-based.
        image_sizes: `(height, width)` of every image of the batch, with or without faces.
        landmarks: `[N,5,2]` float32 x, y in source pixels: left eye, right eye, nose, left mouth
            corner, right mouth corner, as seen in the image. None if the detector has none.
        embeddings: `[N,D]` float32, not normalised. None until a recognition model ran.
        embedding_space: names what `embeddings` may be compared with. None without embeddings.
        landmarks_106: `[N,106,2]` float32 in source pixels, or None.
        landmarks_68: `[N,68,3]` float32 in source pixels (z in the same unit), or None.
        pose: `[N,3]` float32 pitch, yaw, roll in degrees, or None.
        gender: `[N]` int64, 0 female, 1 male, or None.
        age: `[N]` int64 in years, or None.
        verification: `[N]` float32, 0..1, how likely the box really holds a face, or None.
        identity: `[N]` int64, whose face each is: a place in `names`, -1 of nobody known; or None.
        names: Of people; given only together with `identity`.
        image_list: `image_index` on the host, where it is known there: it spares reading the
            device. Given only together with the `image_index` it says the same as.

    Raises:
        InvalidInput: A field has the wrong shape, dtype or device.
    """

    boxes: Tensor
    scores: Tensor
    image_index: Tensor
    image_sizes: tuple[tuple[int, int], ...]
    landmarks: Tensor | None = None
    embeddings: Tensor | None = None
    embedding_space: str | None = None
    landmarks_106: Tensor | None = None
    landmarks_68: Tensor | None = None
    pose: Tensor | None = None
    gender: Tensor | None = None
    age: Tensor | None = None
    verification: Tensor | None = None
    identity: Tensor | None = None
    names: tuple[str, ...] | None = None
    image_list: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        count, device = len(self.boxes), self.boxes.device
        for name, tensor in self.tensors():
            expected = (count, *_ROW_SHAPES[name])
            if tensor.ndim != len(expected) or any(
                want is not None and got != want
                for got, want in zip(tensor.shape, expected, strict=True)
            ):
                shown = [("D" if want is None else want) for want in expected]
                raise InvalidInput(
                    f"Faces.{name}: got shape {tuple(tensor.shape)}, expected {shown}"
                )
            dtype = torch.int64 if name in _INTEGER_FIELDS else torch.float32
            if tensor.dtype != dtype:
                raise InvalidInput(f"Faces.{name}: got dtype {tensor.dtype}, expected {dtype}")
            if tensor.device != device:
                raise InvalidInput(
                    f"Faces.{name}: got device {tensor.device}, but boxes are on {device}; "
                    "move all fields to one device"
                )
        if self.image_list is not None and len(self.image_list) != count:
            raise InvalidInput(
                f"Faces.image_list: got {len(self.image_list)} entries for {count} faces"
            )
        if (self.embeddings is None) != (self.embedding_space is None):
            raise InvalidInput(
                f"Faces: got embedding_space {self.embedding_space!r} and "
                f"{'no ' if self.embeddings is None else ''}embeddings; give both or neither"
            )

        if (self.identity is None) != (self.names is None):
            raise InvalidInput("Faces: got identity without names, or names without; give both")

    @classmethod
    def empty(
        cls, image_sizes: Sequence[tuple[int, int]] = (), device: torch.device | str = "cpu"
    ) -> Faces:
        """No faces in images of these `(height, width)` sizes."""
        return cls(
            boxes=torch.zeros(0, 4, dtype=torch.float32, device=device),
            scores=torch.zeros(0, dtype=torch.float32, device=device),
            image_index=torch.zeros(0, dtype=torch.int64, device=device),
            image_sizes=tuple(image_sizes),
            landmarks=torch.zeros(0, 5, 2, dtype=torch.float32, device=device),
        )

    def __repr__(self) -> str:
        """One line: numbers, device, and which fields are there; reads no device."""
        known = ", ".join(name for name, _ in self.tensors() if name not in _ALWAYS_THERE)
        space = f" of {self.embedding_space}" if self.embedding_space else ""
        return (
            f"Faces({len(self)} in {len(self.image_sizes)} image(s) on {self.device}"
            f"{f'; {known}' if known else ''}{space})"
        )

    @property
    def device(self) -> torch.device:
        return self.boxes.device

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of every field that is there."""
        for name in _ROW_SHAPES:
            value = getattr(self, name)
            if value is not None:
                yield name, value

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return sum(tensor.nbytes for _, tensor in self.tensors())

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: int | slice | Sequence[int] | Sequence[bool] | Tensor) -> Faces:
        """The faces at an index, slice, or list or tensor of indices or booleans."""
        if isinstance(rows, int) and not -len(self) <= rows < len(self):
            raise IndexError(f"got face {rows}, but there are {len(self)}")
        known = None
        if isinstance(rows, slice) and self.image_list is not None:
            known = self.image_list[rows]
        chosen = rows if isinstance(rows, slice) else self._row_tensor(rows)
        columns = {name: tensor[chosen] for name, tensor in self.tensors()}
        return replace(self, image_list=known, **columns)

    def _row_tensor(self, rows: int | Sequence[int] | Sequence[bool] | Tensor) -> Tensor:
        tensor = torch.atleast_1d(torch.as_tensor(rows, device=self.device))
        # An empty list has no type of its own.
        return tensor if len(tensor) else tensor.long()

    def names_of_faces(self) -> list[str | None]:
        """The name of each face, on the host; None of those nobody knows. Reads the device."""
        if self.identity is None or self.names is None:
            return [None] * len(self)
        names = self.names
        return [names[place] if place >= 0 else None for place in self.identity.tolist()]

    def with_names(self, names: Sequence[str | None]) -> Faces:
        """A copy whose faces have these names, one each; None of those nobody knows."""
        table = tuple(dict.fromkeys(name for name in names if name is not None))
        places = {name: place for place, name in enumerate(table)}
        rows = [-1 if name is None else places[name] for name in names]
        identity = uploaded(torch.tensor(rows, dtype=torch.int64), self.device)
        return replace(self, identity=identity, names=table)

    def with_fields(self, **changes: Tensor | str | None) -> Faces:
        """A copy with these fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def of_image(self, index: int) -> Faces:
        """The faces of one image, as a batch of that one image."""
        if not 0 <= index < len(self.image_sizes):
            raise InvalidInput(
                f"got image {index}, expected one of {len(self.image_sizes)} images, counted from 0"
            )
        faces = self[[row for row, image in enumerate(self.images_of_faces()) if image == index]]
        return replace(
            faces,
            image_index=torch.zeros_like(faces.image_index),
            image_list=(0,) * len(faces),
            image_sizes=(self.image_sizes[index],),
        )

    def of_images(self, places: Sequence[int]) -> Faces:
        """The faces of some images, in the batch's order, as a batch of these images."""
        new_place = {place: number for number, place in enumerate(places)}
        images = self.images_of_faces()
        faces = self[[row for row, image in enumerate(images) if image in new_place]]
        image_list = tuple(new_place[image] for image in images if image in new_place)
        index = uploaded(torch.tensor(image_list, dtype=torch.int64), self.device)
        sizes = tuple(self.image_sizes[place] for place in places)
        return replace(faces, image_index=index, image_list=image_list, image_sizes=sizes)

    def images_of_faces(self) -> tuple[int, ...]:
        """The image of each face, on the host. Reads the device if that is not known yet."""
        return tuple(self.image_index.tolist()) if self.image_list is None else self.image_list

    def per_image(self) -> list[int]:
        """The number of faces of every image. Reads the device if that is not known yet."""
        counts = Counter(self.images_of_faces())
        return [counts[image] for image in range(len(self.image_sizes))]

    def placed(self, positions: Sequence[int], image_sizes: Sequence[tuple[int, int]]) -> Faces:
        """The same faces in a larger or reordered batch of images.

        Args:
            positions: New index of each image of this batch.
            image_sizes: `(height, width)` of every image of the new batch.
        """
        sizes = tuple(image_sizes)
        if sizes == self.image_sizes and list(positions) == list(range(len(sizes))):
            return self
        images = [positions[image] for image in self.images_of_faces()]
        order = sorted(range(len(images)), key=images.__getitem__)
        rows = uploaded(torch.tensor(order, dtype=torch.int64), self.device)
        columns = {name: tensor[rows] for name, tensor in self.tensors()}
        image_list = tuple(sorted(images))
        image_index = torch.tensor(image_list, dtype=torch.int64)
        columns["image_index"] = uploaded(image_index, self.device)
        return replace(self, image_list=image_list, image_sizes=sizes, **columns)

    def clone(self) -> Faces:
        """The same faces in memory of their own."""
        return self.with_fields(**{name: tensor.clone() for name, tensor in self.tensors()})

    def to(self, device: torch.device | str) -> Faces:
        """The same faces on a device; themselves where they are there."""
        if self.device == torch.device(device):
            return self
        return self.with_fields(**{name: tensor.to(device) for name, tensor in self.tensors()})

    @staticmethod
    def cat(parts: Sequence[Faces]) -> Faces:
        """Joins batches of images: the images of the second follow those of the first.

        One alone is given back as it is.

        Raises:
            InvalidInput: The parts hold different fields, or embeddings of different spaces.
        """
        if not parts:
            return Faces.empty()
        if len(parts) == 1:
            return parts[0]
        spaces = {part.embedding_space for part in parts}
        if len(spaces) > 1:
            raise InvalidInput(
                f"got faces of different embedding spaces {sorted(map(str, spaces))}; "
                "embed all of them with the same model first"
            )
        names = [name for name, _ in parts[0].tensors()]
        for part in parts[1:]:
            other = [name for name, _ in part.tensors()]
            if other != names:
                raise InvalidInput(
                    f"got faces with fields {other}, expected {names} as in the first"
                )
        people: tuple[str, ...] | None = None
        if parts[0].names is not None:
            people = parts[0].names
            if any(part.names != people for part in parts):
                named = [name for part in parts for name in part.names_of_faces()]
                joined = Faces.cat([replace(part, identity=None, names=None) for part in parts])
                return joined.with_names(named)
        columns = {name: [getattr(part, name) for part in parts] for name in names}
        image_list: list[int] | None = []
        first_image = 0
        for position, part in enumerate(parts):
            columns["image_index"][position] = part.image_index + first_image
            if part.image_list is None:
                image_list = None
            elif image_list is not None:
                image_list += [image + first_image for image in part.image_list]
            first_image += len(part.image_sizes)
        return Faces(
            image_list=None if image_list is None else tuple(image_list),
            image_sizes=tuple(size for part in parts for size in part.image_sizes),
            embedding_space=parts[0].embedding_space,
            names=people,
            **{name: torch.cat(tensors) for name, tensors in columns.items()},
        )
