"""The model packs InsightFace releases: where they are, what is in them, what they may be used for.

Hashes are given where public sources state them: of the files, and of the zips, for the release
`v0.7`, and for `model-zoo` too where it is antelopev2, buffalo_l or buffalo_sc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

RELEASE_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
NON_COMMERCIAL = (
    "InsightFace's pretrained models are for non-commercial research only; for other uses ask "
    "InsightFace for a licence"
)

_SCRFD_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
_SCRFD_2_5G = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
_SCRFD_500M = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
_RESNET_50 = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
_RESNET_100 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
_MOBILE_FACENET = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
_LANDMARK_3D_68 = "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc"
_LANDMARK_2D_106 = "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf"
_GENDER_AGE = "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb"


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
        licence: What the weights may be used for.
    """

    name: str
    files: Mapping[str, str | None] = field(hash=False)
    sha256: str | None = None
    size_mb: float | None = None
    embedding_size: int | None = None
    used_by: tuple[str, ...] = ()
    licence: str = NON_COMMERCIAL

    @property
    def url(self) -> str:
        """Where the zip is."""
        return f"{RELEASE_URL}/{self.name}.zip"


_PACKS = (
    KnownPack(
        name="antelopev2",
        files={
            "scrfd_10g_bnkps.onnx": _SCRFD_10G,
            "glintr100.onnx": _RESNET_100,
            "1k3d68.onnx": _LANDMARK_3D_68,
            "2d106det.onnx": _LANDMARK_2D_106,
            "genderage.onnx": _GENDER_AGE,
        },
        sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
        size_mb=360.7,
        embedding_size=512,
        used_by=("InstantID", "PuLID", "IPAdapter FaceID for Kolors"),
    ),
    KnownPack(
        name="buffalo_l",
        files={
            "det_10g.onnx": _SCRFD_10G,
            "w600k_r50.onnx": _RESNET_50,
            "1k3d68.onnx": _LANDMARK_3D_68,
            "2d106det.onnx": _LANDMARK_2D_106,
            "genderage.onnx": _GENDER_AGE,
        },
        sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        size_mb=288.6,
        embedding_size=512,
        used_by=("IPAdapter FaceID",),
    ),
    KnownPack(
        name="buffalo_m",
        files={
            "det_2.5g.onnx": _SCRFD_2_5G,
            "w600k_r50.onnx": _RESNET_50,
            "1k3d68.onnx": None,
            "2d106det.onnx": _LANDMARK_2D_106,
            "genderage.onnx": None,
        },
        sha256="d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9",
        size_mb=276.0,
        embedding_size=512,
    ),
    KnownPack(
        name="buffalo_s",
        files={
            "det_500m.onnx": _SCRFD_500M,
            "w600k_mbf.onnx": _MOBILE_FACENET,
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
        files={"det_500m.onnx": _SCRFD_500M, "w600k_mbf.onnx": _MOBILE_FACENET},
        sha256="57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
        size_mb=15.0,
        embedding_size=512,
    ),
    KnownPack(name="raccoon_s", files={"manifest.json": None}),
    KnownPack(name="raccoon_l", files={"manifest.json": None}),
)

#: Name of each pack InsightFace releases -> the pack.
KNOWN_PACKS: Mapping[str, KnownPack] = MappingProxyType({pack.name: pack for pack in _PACKS})
