"""InceptionResnetV1's released weights: where they are looked for, and how they get there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ...utils import host
from ...utils.download.fetch import download_file
from ...utils.errors import ModelError
from ...utils.packs.licences import PACK_LICENCES

_log = logging.getLogger("FastFace")

#: Name of the pack of MTCNN alone.
MTCNN_PACK = "facenet-mtcnn"

_RELEASE_URL = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
#: ComfyUI's models folder of this name, and the key of it in extra_model_paths.yaml.
_FOLDER_KEY = "facenet"


@dataclass(frozen=True)
class EmbeddingWeights:
    """Weights that facenet-pytorch released.

    Attributes:
        pack_name: Name of the pack they make together with MTCNN; of their embedding space too.
        file_name: As released.
        sha256: Hash of the released file, or None where no public source states it.
        size_mb: Size in millions of bytes.
    """

    pack_name: str
    file_name: str
    sha256: str | None
    size_mb: int

    @property
    def url(self) -> str:
        return f"{_RELEASE_URL}/{self.file_name}"

    @property
    def origin(self) -> str:
        """Where the weights come from: what has another hash than the released file is refused."""
        if self.sha256 is None:
            return f"a file named like {self.url}; contents not verified"
        return self.url

    @property
    def licence(self) -> str:
        """What they may be used for, in one line."""
        return PACK_LICENCES[self.pack_name].terms

    @property
    def path(self) -> Path:
        """The file, or, where there is none, what a download makes."""
        paths = [folder / self.file_name for folder in weight_folders()]
        return next((path for path in paths if path.is_file()), paths[0])

    def obtain(self, download: bool, on_download: Callable[[int, int], None] | None) -> None:
        """Sees to it that the file is there.

        Args:
            download: Whether the user chose to download what is missing.
            on_download: Called with bytes done and bytes in all.

        Raises:
            ModelError: It is not there, and not to be downloaded, or can't be checked then.
            DownloadError: The download failed.
        """
        path = self.path
        if path.is_file():
            return
        by_hand = (
            f"{self.file_name} of pack {self.pack_name!r} is not there; put {self.url} "
            f"({self.size_mb} MB) into {path.parent}"
        )
        if self.sha256 is None:
            raise ModelError(
                f"{by_hand}. It is not downloaded: its authors give no hash to check it by"
            )
        if not download:
            raise ModelError(
                f"{by_hand}, or turn download_missing on. Licence of these weights: {self.licence}"
            )
        _log.info("downloading %s to %s; licence: %s", self.url, path, self.licence)
        download_file(self.url, path, sha256=self.sha256, on_progress=on_download)


def weight_folders() -> tuple[Path, ...]:
    """Where weights are looked for, ComfyUI's folders first; a download goes into the first.

    The others are the caches of facenet-pytorch itself and of torch.
    """
    hub = Path(torch.hub.get_dir())
    return (*host.model_folders(_FOLDER_KEY), hub.parent / "checkpoints", hub / "checkpoints")


VGGFACE2 = EmbeddingWeights(
    pack_name="facenet-vggface2",
    file_name="20180402-114759-vggface2.pt",
    sha256="281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    size_mb=112,
)
CASIA_WEBFACE = EmbeddingWeights(
    pack_name="facenet-casia-webface",
    file_name="20180408-102900-casia-webface.pt",
    sha256=None,
    size_mb=116,
)
EMBEDDING_WEIGHTS = {weights.pack_name: weights for weights in (VGGFACE2, CASIA_WEBFACE)}


def embedding_pack(path: Path) -> str:
    """Name of the pack whose embeddings a file makes; the file's own where it is nobody's."""
    packs = (w.pack_name for w in EMBEDDING_WEIGHTS.values() if w.file_name == path.name)
    return next(packs, path.stem)
