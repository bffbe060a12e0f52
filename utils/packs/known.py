"""Model packs that can be downloaded: where they are, what is in them.

Hashes are given where public sources state them: of the files, and of the zips, for the release
`v0.7`, and for `model-zoo` too where it is antelopev2, buffalo_l or buffalo_sc. Those of OpenCV Zoo
and of AuraFace are of the revisions that the addresses name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from . import released
from .licences import INSIGHTFACE, PACK_LICENCES

RELEASE_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
_OPENCV_ZOO_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models"
)
_YUNET_URL = f"{_OPENCV_ZOO_URL}/face_detection_yunet/face_detection_yunet_2026may.onnx"
_SFACE_URL = f"{_OPENCV_ZOO_URL}/face_recognition_sface/face_recognition_sface_2021dec.onnx"
_AURAFACE_URL = (
    "https://huggingface.co/fal/AuraFace-v1/resolve/af6d057c9b0ec4071d4c49c80e3539258798b609/"
    "glintr100.onnx"
)


@dataclass(frozen=True)
class KnownPack:
    """A pack that can be downloaded.

    Attributes:
        name: Name of the pack, of its folder and, with `.zip`, of the zip to download.
        files: Names of the files it must hold, each with its SHA-256 where known.
        urls: Where each file is, by its name; empty where all of them are in one zip.
        sha256: SHA-256 of the zip, or None.
        size_mb: Size of the download in millions of bytes, or None.
        embedding_size: Numbers in one embedding, or None.
        used_by: Packs of ComfyUI that want it.
    """

    name: str
    files: Mapping[str, str | None] = field(hash=False)
    urls: Mapping[str, str] = field(default_factory=dict, hash=False)
    sha256: str | None = None
    size_mb: float | None = None
    embedding_size: int | None = None
    used_by: tuple[str, ...] = ()

    @property
    def licence(self) -> str:
        """What the weights may be used for, in one line."""
        return PACK_LICENCES[self.name].terms

    @property
    def is_insightfaces(self) -> bool:
        """Whether InsightFace released it, so that its embeddings are what others expect."""
        return PACK_LICENCES[self.name].publishers == (INSIGHTFACE,)

    @property
    def url(self) -> str:
        """Where the zip is; empty where its files are to be had one by one."""
        return "" if self.urls else f"{RELEASE_URL}/{self.name}.zip"


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
    KnownPack(
        name="yunet-sface",
        files={
            "face_detection_yunet_2026may.onnx": released.YUNET_2026,
            "face_recognition_sface_2021dec.onnx": released.SFACE_2021,
        },
        urls={
            "face_detection_yunet_2026may.onnx": _YUNET_URL,
            "face_recognition_sface_2021dec.onnx": _SFACE_URL,
        },
        size_mb=38.9,
        embedding_size=128,
    ),
    # AuraFace's own release comes with InsightFace's detector, which is not free.
    KnownPack(
        name="auraface",
        files={
            "face_detection_yunet_2026may.onnx": released.YUNET_2026,
            "auraface_v1.onnx": released.AURAFACE_RESNET_100,
        },
        urls={
            "face_detection_yunet_2026may.onnx": _YUNET_URL,
            "auraface_v1.onnx": _AURAFACE_URL,
        },
        size_mb=260.9,
        embedding_size=512,
    ),
)

#: Name of each pack that can be downloaded -> the pack.
KNOWN_PACKS: Mapping[str, KnownPack] = MappingProxyType({pack.name: pack for pack in _PACKS})
