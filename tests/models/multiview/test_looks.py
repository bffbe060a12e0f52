from __future__ import annotations

import pytest
import torch

from fastface.models.multiview.views import View
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch


def batch_with_a_dot(size_hw: tuple[int, int], at_xy: tuple[int, int], images: int) -> ImageBatch:
    """Black images; the last has a white square of 8 pixels centred at a place."""
    pixels = torch.zeros(images, *size_hw, 3, dtype=torch.uint8)
    x, y = at_xy
    pixels[-1, y - 4 : y + 4, x - 4 : x + 4] = 255
    return ImageBatch(pixels, tuple(range(images)), bgr=False)


def bright_box(canvas: torch.Tensor) -> list[float]:
    y, x = (canvas[..., 0] > 127).nonzero(as_tuple=True)
    return [float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)]


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 64), (100, 60)])
@pytest.mark.parametrize(
    "look", [View(64, 64, (0, 1, 2, 3)), View(32, 96, (3, 1)), View(96, 96, (2,))]
)
def test_what_is_seen_on_a_canvas_comes_back_to_its_place(size_hw: tuple[int, int], look: View):
    batch = batch_with_a_dot(size_hw, (20, 28), images=2)
    canvases = look.canvases(batch)
    assert canvases.pixels.shape == (2 * len(look.turns), *look.size_wh, 3)
    shown = [bool(canvas.any()) for canvas in canvases.pixels]
    assert shown == [False, True] * len(look.turns)
    rows = [row for row, there in enumerate(shown) if there]
    boxes = torch.tensor([bright_box(canvases.pixels[row]) for row in rows])
    faces = Faces(
        boxes=boxes,
        scores=torch.ones(len(rows)),
        image_index=torch.tensor(rows),
        image_sizes=(look.size_wh,) * len(canvases.pixels),
        landmarks=boxes[:, None, :2].expand(-1, 5, -1),
    )
    seen = look.back_in(faces, [size_hw, size_hw], 7)
    assert seen.image.tolist() == [1] * len(rows) and seen.look.unique().tolist() == [7]
    assert seen.turn.tolist() == list(look.turns)
    one_canvas_pixel = max(size_hw) / look.image_side
    expected = torch.tensor([[16.0, 24.0, 24.0, 32.0]]).expand(len(rows), -1)
    assert torch.allclose(seen.boxes, expected, atol=one_canvas_pixel + 0.01)
    corners = {0: (0, 1), 1: (2, 1), 2: (2, 3), 3: (0, 3)}
    assert seen.landmarks is not None
    for turn, box, points in zip(look.turns, seen.boxes, seen.landmarks, strict=True):
        # The corner that is top left on the turned canvas is another one of the image.
        assert torch.allclose(points[0], box[list(corners[turn])])


def test_of_no_faces():
    seen = View(64, 64, (0, 1)).back_in(Faces.empty(((64, 64),) * 2), [(30, 50)], 1)
    assert len(seen.scores) == 0 and seen.boxes.shape == (0, 4)
