"""Who of a gallery is most like a face, remembered until the gallery changes.

With FAISS, where it is installed, and else in torch, which compares with everybody. Both give the
same people; of large galleries FAISS looks at a part only, see `faiss_index.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..cache import Bounds, Cache
from ..embedding import Embedding
from ..errors import InvalidInput
from ..faces import Faces
from ..progress import may_stop
from ..settings import settings_or_defaults
from .contents import Gallery
from .faiss_index import FaissIndex, installed_faiss
from .gallery_store import GalleryStore

#: Similarities that are worked out at once: 256 MB.
_MOST_AT_ONCE = 1 << 26
#: Embeddings that FAISS is asked for at most, for one face: where a person has very many, the
#: best ones of all people may be one person's, and torch looks at all.
_MOST_ASKED = 1024
#: Most memory of all galleries that are remembered, in bytes.
_MOST_BYTES = 4 << 30


class Match(NamedTuple):
    """Somebody who is like a face: the name, and the cosine to the most similar embedding."""

    name: str
    similarity: float


class GalleryIndex:
    """All embeddings of a gallery, ready to be compared.

    Attributes:
        names: Of the people.
        space: What may be compared with them.
    """

    def __init__(self, gallery: Gallery) -> None:
        gallery = gallery.compact()
        self.names, self.space = gallery.names, gallery.space
        self._vectors = torch.nn.functional.normalize(gallery.vectors)
        counts = torch.tensor([len(each.samples) for each in gallery.identities], dtype=torch.int64)
        self._owner = torch.arange(len(counts)).repeat_interleave(counts)
        #: So many of the best embeddings are of at least so many people as one asks for.
        self._most_of_one = int(counts.max()) if len(counts) else 0
        faiss = installed_faiss() if len(self._vectors) else None
        self._faiss = None if faiss is None else FaissIndex(faiss, self._vectors.numpy())

    @property
    def size_bytes(self) -> int:
        return self._vectors.nbytes + self._owner.nbytes

    def search(self, queries: Faces | Embedding, top_k: int = 1) -> list[list[Match]]:
        """The people most like each face, the most similar first.

        Args:
            queries: With embeddings, on any device.
            top_k: Most people for each.

        Raises:
            InvalidInput: They have no embeddings, or those of another space.
        """
        vectors, space = _vectors(queries)
        if not len(vectors):
            return []
        if not self.names:
            return [[] for _ in range(len(vectors))]
        if space != self.space or vectors.shape[1] != self._vectors.shape[1]:
            raise InvalidInput(
                f"got embeddings of {space!r} with {vectors.shape[1]} numbers, but the gallery is "
                f"of {self.space!r} with {self._vectors.shape[1]}, and these can't be compared; "
                "use the model pack that the gallery was made with"
            )
        units = torch.nn.functional.normalize(vectors.float().cpu())
        top_k = min(top_k, len(self.names))
        asked = min(top_k * self._most_of_one, len(self._vectors))
        if self._faiss is not None and asked <= _MOST_ASKED:
            return self._by_faiss(self._faiss, units, top_k, asked)
        return self._by_torch(units, top_k)

    def _by_faiss(
        self, index: FaissIndex, units: Tensor, top_k: int, asked: int
    ) -> list[list[Match]]:
        cosines, rows = index.search(units.numpy(), asked)
        found: list[list[Match]] = []
        for values, places in zip(cosines.tolist(), rows, strict=True):
            best: dict[int, float] = {}
            owners = self._owner[torch.from_numpy(places[places >= 0])].tolist()
            for owner, value in zip(owners, values, strict=False):
                best.setdefault(owner, value)
            people = list(best.items())[:top_k]
            found.append([Match(self.names[owner], value) for owner, value in people])
        return found

    def _by_torch(self, units: Tensor, top_k: int) -> list[list[Match]]:
        people, found = len(self.names), []
        for some in units.split(max(1, _MOST_AT_ONCE // len(self._vectors))):
            may_stop()
            cosines = some @ self._vectors.mT
            best = cosines.new_full((len(some), people), -2.0)
            best.scatter_reduce_(1, self._owner.expand(len(some), -1), cosines, "amax")
            values, rows = best.topk(top_k, dim=1)
            found += [
                [Match(self.names[row], float(value)) for row, value in zip(*pair, strict=True)]
                for pair in zip(rows.tolist(), values.tolist(), strict=True)
            ]
        return found


def _vectors(value: Faces | Embedding) -> tuple[Tensor, str | None]:
    if isinstance(value, Embedding):
        return value.vector, value.space
    if value.embeddings is None:
        if len(value):
            raise InvalidInput(
                f"got {len(value)} faces without embeddings; let FastFace Embed (which: all) add "
                "them, or connect images and faceanalysis"
            )
        return value.boxes[:0], None
    return value.embeddings, value.embedding_space


def _bounds() -> Bounds:
    chosen = settings_or_defaults()
    return Bounds(chosen.cache_galleries, _MOST_BYTES, chosen.cache_galleries_seconds)


#: Those of the galleries that were searched, by their folder and its state.
INDEXES: Cache[GalleryIndex] = Cache("galleries", _bounds, lambda index: index.size_bytes)


def index_of(store: GalleryStore) -> GalleryIndex:
    """The index of a gallery as it is now.

    Raises:
        InvalidInput: There is no such gallery.
        ModelError: It is damaged, something else, or of a newer version.
    """
    # The state is taken first: what was read later than it said is only read again.
    key = (str(store.folder.absolute()), store.state())
    return INDEXES.get_or_make(key, lambda: GalleryIndex(store.read()))
