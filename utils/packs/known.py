"""The model packs InsightFace releases: where they are, what is in them, what they may be used for.

Hashes are given where public sources state them: of the files, and of the zips, for the release
`v0.7`, and for `model-zoo` too where it is antelopev2, buffalo_l or buffalo_sc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from . import released
from .licences import PACK_LICENCES

RELEASE_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo"


@dataclass(frozen=True)
class KnownPack:
    """A pack that can be downloaded.

    Attributes:
        name: Name of the pack, of its folder and, with `.zip`, of the file to download.
        files: Names of the files it must hold, each with its SHA-256 where known.
        sha256: SHA-256 of the zip, or None.
        size_mb: Size of the download in millions of bytes, or None.
        embedding_size: Numbers in one embedding, or None.
        used_by: Packs of ComfyUI that want it.
    """

    name: str
    files: Mapping[str, str | None] = field(hash=False)
    sha256: str | None = None
    size_mb: float | None = None
    embedding_size: int | None = None
    used_by: tuple[str, ...] = ()

    @property
    def licence(self) -> str:
        """What the weights may be used for, in one line."""
        return PACK_LICENCES[self.name].terms

    @property
    def url(self) -> str:
        """Where the zip is."""
        return f"{RELEASE_URL}/{self.name}.zip"


_PACKS = (
    KnownPack(
        name="antelopev2",
        files={
            "scrfd_10g_bnkps.onnx": released.SCRFD_10G,
            "glintr100.onnx": released.RESNET_100,
            "1k3d68.onnx": released.LANDMARK_3D_68,
            "2d106det.onnx": released.LANDMARK_2D_106,
            "genderage.onnx": released.GENDER_AGE,
        },
        sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
        size_mb=360.7,
        embedding_size=512,
        used_by=("InstantID", "PuLID", "IPAdapter FaceID for Kolors"),
    ),
    KnownPack(
        name="buffalo_l",
        files={
            "det_10g.onnx": released.SCRFD_10G,
            "w600k_r50.onnx": released.RESNET_50,
            "1k3d68.onnx": released.LANDMARK_3D_68,
            "2d106det.onnx": released.LANDMARK_2D_106,
            "genderage.onnx": released.GENDER_AGE,
        },
        sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        size_mb=288.6,
        embedding_size=512,
        used_by=("IPAdapter FaceID",),
    ),
    KnownPack(
        name="buffalo_m",
        files={
            "det_2.5g.onnx": released.SCRFD_2_5G,
            "w600k_r50.onnx": released.RESNET_50,
            "1k3d68.onnx": None,
            "2d106det.onnx": released.LANDMARK_2D_106,
            "genderage.onnx": None,
        },
        sha256="d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9",
        size_mb=276.0,
        embedding_size=512,
    ),
    KnownPack(
        name="buffalo_s",
        files={
            "det_500m.onnx": released.SCRFD_500M,
            "w600k_mbf.onnx": released.MOBILE_FACENET,
            "1k3d68.onnx": None,
            "2d106det.onnx": None,
            "genderage.onnx": None,
        },
        sha256="d85a87f503f691807cd8bb97128bdf7a0660326cd9cd02657127fa978bab8b5e",
        size_mb=127.6,
        embedding_size=512,
    ),
    KnownPack(
        name="buffalo_sc",
        files={"det_500m.onnx": released.SCRFD_500M, "w600k_mbf.onnx": released.MOBILE_FACENET},
        sha256="57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
        size_mb=15.0,
        embedding_size=512,
    ),
    KnownPack(name="raccoon_s", files={"manifest.json": None}),
    KnownPack(name="raccoon_l", files={"manifest.json": None}),
)

#: Name of each pack InsightFace releases -> the pack.
KNOWN_PACKS: Mapping[str, KnownPack] = MappingProxyType({pack.name: pack for pack in _PACKS})
