"""Search by FAISS, where it is installed: exact, or by inverted lists where these pay.

Inverted lists look at a part of the vectors only. How many lists have to be looked at, so that the
first answer is the exact one, depends on how the vectors lie: it is found out with queries like
them. Embeddings of faces often need so many that comparing with all is as fast (measured in
benchmarks/RESULTS.md), and then that is done.
"""

from __future__ import annotations

import logging
import math
import sys
from types import ModuleType
from typing import Any

import numpy as np

from ..progress import may_stop

_log = logging.getLogger("FastFace")

#: From so many vectors on lists are tried.
LISTED_FROM = 1000
#: Vectors with which they are tried: building lists of all may take minutes.
_TRIED = 20_000
#: Lists pay as long as no more than this share of them has to be looked at.
_MOST_SHARE = 0.25
#: Queries that are searched at once.
_QUERIES_AT_ONCE = 1000
#: FAISS asks for so many vectors a list to find the lists by, and takes no more than those.
_LEAST_TRAINING, _MOST_TRAINING = 39, 64
#: Share of queries whose first answer must be the exact one; a little more than is promised.
_RECALL = 0.998
_SAMPLED_QUERIES = 500
#: Cosine between a vector and a query like it: two photos of one person.
_LIKENESS = 0.6


class FaissIndex:
    """Vectors of length 1, or of any where it is exact, ready to be searched.

    Attributes:
        lists, probes: Inverted lists, and how many of them a search looks at; 0 where it is exact.
    """

    def __init__(self, faiss: ModuleType, units: np.ndarray, is_exact: bool = False) -> None:
        """
        Args:
            units: `[N,D]` float32, N at least 1.
            is_exact: Whether all are compared, however many they are.
        """
        self.lists = self.probes = 0
        index = _listed(faiss, units) if len(units) >= LISTED_FROM and not is_exact else None
        if index is None:
            index = faiss.IndexFlatIP(units.shape[1])
            index.add(units)
        else:
            self.lists, self.probes = index.nlist, index.nprobe
        self._index: Any = _on_gpu(faiss, index)

    def search(self, units: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines `[M,K]` float32 and rows `[M,K]` int64, the most similar first.

        Rows that were not found are -1.

        Args:
            units: `[M,D]` float32, of length 1.
            count: K.
        """
        parts = []
        for start in range(0, len(units), _QUERIES_AT_ONCE):
            may_stop()
            parts.append(self._index.search(units[start : start + _QUERIES_AT_ONCE], count))
        return np.concatenate([part[0] for part in parts]), np.concatenate(
            [part[1] for part in parts]
        )


def _listed(faiss: ModuleType, units: np.ndarray) -> Any:
    """An index with inverted lists, or None where these don't pay."""
    if len(units) > 2 * _TRIED:
        rows = np.linspace(0, len(units) - 1, _TRIED).astype(np.int64)
        if _listed(faiss, np.ascontiguousarray(units[rows])) is None:
            return None
    lists = max(1, min(round(4 * math.sqrt(len(units))), len(units) // _LEAST_TRAINING))
    quantizer = faiss.IndexFlatIP(units.shape[1])
    index = faiss.IndexIVFFlat(quantizer, units.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _MOST_TRAINING
    may_stop()
    index.train(units)
    may_stop()
    index.add(units)
    queries, exact = _queries_like(units)
    probes = max(1, lists // 32)
    while probes <= _MOST_SHARE * lists:
        may_stop()
        index.nprobe = probes
        if (index.search(queries, 1)[1][:, 0] == exact).mean() >= _RECALL:
            return index
        probes *= 2
    return None


def _queries_like(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries `[M,D]` as other photos of some of the vectors would be, and the nearest row each."""
    rows = np.linspace(0, len(units) - 1, min(_SAMPLED_QUERIES, len(units))).astype(np.int64)
    # What two photos differ by spreads as faces do: so the noise is made of faces.
    one, other = np.random.default_rng(0).integers(0, len(units), (2, len(rows)))
    noise = units[one] - units[other]
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-6)
    queries = _LIKENESS * units[rows] + math.sqrt(1 - _LIKENESS**2) * noise
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    parts = [np.argmax(some @ units.T, axis=1) for some in np.array_split(queries, 10)]
    return queries, np.concatenate(parts)


def installed_faiss() -> ModuleType | None:
    """The library, or None where it is not installed, or can't be loaded."""
    if sys.platform == "darwin" and "faiss" not in sys.modules:
        # Its OpenMP and torch's are two there, and the second to start ends the process.
        return None
    try:
        import faiss
    except ImportError:
        return None
    return faiss if hasattr(faiss, "IndexFlatIP") else None


_told: set[str] = set()


def _on_gpu(faiss: ModuleType, index: Any) -> Any:
    """The index on the first GPU, where this FAISS has one and it fits; else itself."""
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return index
    try:
        moved = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:
        if "gpu" not in _told:
            _told.add("gpu")
            _log.warning("FAISS searches galleries on the CPU, its GPU can't be used: %s", error)
        return index
    return moved
