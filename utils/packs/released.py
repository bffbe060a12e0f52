"""Model files that were released publicly, known by their content: whose they are, what they allow.

A folder's or file's name says nothing: AuraFace's files are called what antelopev2's are, and but
for the recognition network they are InsightFace's, byte for byte.

Source: for InsightFace's, the list in its own server (`insightface_server/models/packages.py`) and
the Git LFS pointers of mirrors on Hugging Face; for AuraFace, those of fal/AuraFace-v1 and projects
that pin its file; for YuNet and SFace, those of OpenCV Zoo and projects that pin its files. Every
hash and size stands in two of them at least that do not copy each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from .licences import AURAFACE, INSIGHTFACE, SFACE, YUNET, Publisher


class ArcFaceUse(Enum):
    """Whether nodes that were trained with InsightFace's embeddings may read those of a network."""

    YES = "yes"
    #: Of the same length and made alike, but other numbers: only where the user says so.
    ASKED = "asked"
    NO = "no"


@dataclass(frozen=True)
class ReleasedFile:
    """A file as it was released.

    Attributes:
        name: Of the network; for recognition it names the embedding space, too.
        sha256: Of the file.
        size_bytes: Of the file: another size spares reading it.
        publisher: Who released it.
        arcface_use: For recognition, see `ArcFaceUse`.
    """

    name: str
    sha256: str
    size_bytes: int
    publisher: Publisher
    arcface_use: ArcFaceUse = ArcFaceUse.YES


SCRFD_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
SCRFD_2_5G = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
SCRFD_500M = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
RESNET_50 = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
RESNET_100 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
MOBILE_FACENET = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
LANDMARK_3D_68 = "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc"
LANDMARK_2D_106 = "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf"
GENDER_AGE = "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb"
YUNET_2026 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
YUNET_2023 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
SFACE_2021 = "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
AURAFACE_RESNET_100 = "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60"

_FILES = (
    ReleasedFile("scrfd_10g_bnkps", SCRFD_10G, 16_923_827, INSIGHTFACE),
    ReleasedFile("det_2.5g", SCRFD_2_5G, 3_292_009, INSIGHTFACE),
    ReleasedFile("det_500m", SCRFD_500M, 2_524_817, INSIGHTFACE),
    ReleasedFile("w600k_r50", RESNET_50, 174_383_860, INSIGHTFACE),
    ReleasedFile("glintr100", RESNET_100, 260_665_334, INSIGHTFACE),
    ReleasedFile("w600k_mbf", MOBILE_FACENET, 13_616_099, INSIGHTFACE),
    ReleasedFile("1k3d68", LANDMARK_3D_68, 143_607_619, INSIGHTFACE),
    ReleasedFile("2d106det", LANDMARK_2D_106, 5_030_888, INSIGHTFACE),
    ReleasedFile("genderage", GENDER_AGE, 1_322_532, INSIGHTFACE),
    ReleasedFile("yunet_2026may", YUNET_2026, 229_738, YUNET),
    ReleasedFile("yunet_2023mar", YUNET_2023, 232_589, YUNET),
    ReleasedFile("sface_2021dec", SFACE_2021, 38_696_353, SFACE, ArcFaceUse.NO),
    ReleasedFile("auraface_v1", AURAFACE_RESNET_100, 260_694_151, AURAFACE, ArcFaceUse.ASKED),
)

#: Content of each file, as `content_sha256` gives it -> the file.
RELEASED_FILES: Mapping[str, ReleasedFile] = MappingProxyType({f.sha256: f for f in _FILES})
#: A file of another size is none of them.
RELEASED_SIZES = frozenset(file.size_bytes for file in _FILES)
