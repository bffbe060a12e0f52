"""`InceptionEmbedder`: identity embeddings by InceptionResnetV1, on crops as facenet-pytorch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...backends.facenet_networks.networks import InceptionNetwork
from ...backends.facenet_networks.parameters import IMAGE_SIZE
from ...backends.residency.evictable_model import EvictableModel, managed_among
from ...utils.area import area_crops, summed_area_table
from ...utils.crop_spec import CropSource, whole_images
from ...utils.cutting import cut_faces
from ...utils.devices import uploaded
from ...utils.faces import Faces
from ...utils.images import ImageBatch
from ...utils.packs import Task
from ...utils.progress import may_stop
from ..graph_input import scaled_planes

#: Images whose sums are held at once.
_IMAGES_AT_ONCE = 4
#: Crops at once on the CPU, where more are not faster and whoever presses stop waits for all.
_CROPS_ON_CPU = 4


class InceptionEmbedder:
    """Embeds faces.

    Source:
        Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering",
        arXiv:1503.03832; conventions as in facenet-pytorch 2.6, `extract_face` of a tensor.
    """

    task: Task = "recognition"
    size = IMAGE_SIZE

    def __init__(self, network: InceptionNetwork) -> None:
        self.session = network.session
        self.device = self.session.device
        self.runs_on = self.session.runs_on
        self._margin = network.margin

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return managed_among(self.session)

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """`embeddings` `[N,512]` float32 of length 1."""
        boxes = faces.boxes.to(self.device)

        def cut(batch: ImageBatch, rows: Tensor, chosen: Tensor | slice) -> Tensor:
            table = summed_area_table(batch.to_uint8())
            covered = crop_pixels(boxes[chosen], batch.size_hw, self._margin)
            crops = area_crops(table, rows, covered, self.size)
            # As the library, this cuts off what lies between two 8-bit steps.
            return crops.permute(0, 2, 3, 1).to(torch.uint8)

        image_of_face = faces.images_of_faces()
        whole = whole_images(images)
        crops = cut_faces(whole, image_of_face, self.size, self.device, cut, _IMAGES_AT_ONCE)
        return {"embeddings": self.embed(crops).to(faces.device)}

    def embed(self, crops: ImageBatch) -> Tensor:
        """Embeds crops `[N,160,160,3]` uint8: `[N,512]` float32 of length 1."""
        planes = scaled_planes(crops, 127.5, 128.0)
        pieces = planes.split(_CROPS_ON_CPU) if self.device.type == "cpu" else (planes,)
        embeddings = []
        for piece in pieces:
            may_stop()
            embeddings.append(self.session.run(piece)[0].float())
        return torch.cat(embeddings)


def crop_pixels(
    boxes: Tensor, size_hw: tuple[int, int], margin: int, image_size: int = IMAGE_SIZE
) -> Tensor:
    """The pixels of an image that a crop with a margin shows.

    Args:
        boxes: `[N,4]` float32 xyxy in pixels.
        size_hw: Height and width of the image.
        margin: Pixels of the crop that lie outside the box, both sides together.
        image_size: Side of the crop in pixels.

    Returns:
        `[N,4]` int64 left, top, right, bottom; the last two are not part of it. At least one pixel
        inside the image, also where the original has none and fails.

    Source:
        facenet-pytorch 2.6, `extract_face`.
    """
    wider = margin * (boxes[:, 2:] - boxes[:, :2]) / (image_size - margin) / 2
    limit = uploaded(torch.tensor((size_hw[1], size_hw[0])), boxes.device)
    low = torch.minimum((boxes[:, :2] - wider).clamp(min=0).long(), limit - 1)
    high = torch.minimum(torch.minimum(boxes[:, 2:] + wider, limit.to(boxes)).long(), limit)
    return torch.cat((low, torch.maximum(high, low + 1)), 1)
