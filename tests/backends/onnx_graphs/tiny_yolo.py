"""A small network of ultralytics' layers, saved as ultralytics saves its own, without ultralytics.

The layers carry the names of ultralytics' classes while they are saved, and compute what those do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 3), Conv(c, c, 3), True

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class C3k(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        half = c // 2
        self.cv1, self.cv2, self.cv3 = Conv(c, half), Conv(c, half), Conv(2 * half, c)
        self.m = nn.Sequential(Bottleneck(half))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3k2(nn.Module):
    def __init__(self, c: int, inner: type = C3k):
        super().__init__()
        half = c // 2
        self.cv1, self.cv2 = Conv(c, c), Conv(3 * half, c)
        self.m = nn.ModuleList([inner(half)])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2, act=False), Conv(2 * c, c)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        parts.extend(self.m(parts[-1]) for _ in range(3))
        return self.cv2(torch.cat(parts, 1))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.key_dim = self.head_dim // 2
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + 2 * self.key_dim * heads, act=False)
        self.proj, self.pe = Conv(dim, dim, act=False), Conv(dim, dim, 3, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        sizes = [self.key_dim, self.key_dim, self.head_dim]
        q, k, v = self.qkv(x).view(b, self.num_heads, sum(sizes), h * w).split(sizes, 2)
        weights = ((q * self.scale).transpose(-2, -1) @ k).softmax(-1)
        seen = (v @ weights.transpose(-2, -1)).view(b, c, h, w)
        return self.proj(seen + self.pe(v.reshape(b, c, h, w)))


class PSABlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.attn = Attention(c, 2)
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))
        self.add = True

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c, c), Conv(c, c), nn.Sequential(PSABlock(c // 2))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((a, self.m(b)), 1))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.d = 1

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.d)


class Detect(nn.Module):
    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.nc, self.nl, self.reg_max = 1, len(channels), 8
        self.stride = torch.tensor([float(stride) for stride in STRIDES])
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 4 * self.reg_max, 1)) for c in channels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 1, 1)) for c in channels
        )

    def anchors(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        """`[2,A]` in cells, `[1,A]` in pixels."""
        points, strides = [], []
        for level, stride in zip(x, STRIDES, strict=True):
            y, along = torch.meshgrid(
                *(torch.arange(n) + 0.5 for n in level.shape[2:]), indexing="ij"
            )
            points.append(torch.stack((along, y)).flatten(1))
            strides.append(torch.full((1, points[-1].shape[1]), float(stride)))
        return torch.cat(points, 1), torch.cat(strides, 1)

    def forward(self, x: list[Tensor]) -> Tensor:
        box = torch.cat([m(each).flatten(2) for m, each in zip(self.cv2, x, strict=True)], 2)
        cls = torch.cat([m(each).flatten(2) for m, each in zip(self.cv3, x, strict=True)], 2)
        shares = box.unflatten(1, (4, self.reg_max)).softmax(2)
        distance = (shares * torch.arange(self.reg_max).view(1, 1, -1, 1)).sum(2)
        points, strides = self.anchors(x)
        near, far = points - distance[:, :2], points + distance[:, 2:]
        boxes = torch.cat(((near + far) / 2, far - near), 1) * strides
        return torch.cat((boxes, cls.sigmoid()), 1)


class Pose(Detect):
    def __init__(self, channels: tuple[int, ...], numbers: int):
        super().__init__(channels)
        self.kpt_shape = [5, numbers]
        self.cv4 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 5 * numbers, 1)) for c in channels
        )

    def forward(self, x: list[Tensor]) -> Tensor:
        found = super().forward(x)
        flat = torch.cat([m(each).flatten(2) for m, each in zip(self.cv4, x, strict=True)], 2)
        rows = flat.unflatten(1, tuple(self.kpt_shape))
        points, strides = self.anchors(x)
        at = (rows[:, :, :2] * 2 + points - 0.5) * strides
        rows = torch.cat((at, rows[:, :, 2:].sigmoid()), 2)
        return torch.cat((found, rows.flatten(1, 2)), 1)


class PoseModel(nn.Module):
    """Layers that know which ones they read, as in ultralytics' `nn/tasks.py`."""

    def __init__(self, points: int | None = None, name: str = "face"):
        super().__init__()
        widths = (16, 32, 32)
        head = Detect(widths) if points is None else Pose(widths, points)
        layers: list[tuple[Any, nn.Module]] = [
            (-1, Conv(3, 8, 3, 2)),
            (-1, Conv(8, 16, 3, 2)),
            (-1, Conv(16, 16, 3, 2)),
            (-1, C3k2(16)),  # 3, stride 8
            (-1, Conv(16, 32, 3, 2)),
            (-1, C3k2(32, Bottleneck)),  # 5, stride 16
            (-1, Conv(32, 32, 3, 2)),
            (-1, SPPF(32)),
            (-1, C2PSA(32)),  # 8, stride 32
            (-1, nn.Upsample(None, 2, "nearest")),
            ([-1, 5], Concat()),
            (-1, Conv(64, 32)),  # 11, stride 16
            ([3, 11, 8], head),
        ]
        self.model = nn.Sequential(*(layer for _, layer in layers))
        for index, (origin, layer) in enumerate(layers):
            layer.f, layer.i = origin, index  # type: ignore[assignment]
        self.names = {0: name}
        self.stride = torch.tensor(STRIDES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for layer in self.model:
            value = outputs[-1] if outputs else x
            if layer.f != -1:
                value = [value if each == -1 else outputs[each] for each in layer.f]  # type: ignore
            outputs.append(layer(value))
        return outputs[-1]


#: Where ultralytics keeps the classes of these names.
_HOMES = {
    "ultralytics.nn.modules.conv": (Conv, Concat),
    "ultralytics.nn.modules.block": (Bottleneck, C3k, C3k2, SPPF, Attention, PSABlock, C2PSA),
    "ultralytics.nn.modules.head": (Detect, Pose),
    "ultralytics.nn.tasks": (PoseModel,),
}


def tiny_yolo(points: int | None = None, name: str = "face", seed: int = 0) -> PoseModel:
    """A network with random weights: boxes alone, or keypoints of 2 or 3 numbers each."""
    torch.manual_seed(seed)
    model = PoseModel(points, name)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                state = module.state_dict(keep_vars=True)
                state["running_mean"].normal_(0, 0.1)
                state["running_var"].uniform_(0.5, 1.5)
                state["bias"].normal_(0, 0.2)
    # As they are saved: half precision.
    return model.half().float().eval()


def save(model: nn.Module, path: Path, **further: Any) -> Path:
    """Saves a network as ultralytics' trainer does."""
    homes = {name: ModuleType(name) for name in _HOMES}
    parts = {
        name: ModuleType(name)
        for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.modules")
    }
    before = {name: sys.modules.get(name) for name in (*parts, *homes)}
    modules = {kind: kind.__module__ for kinds in _HOMES.values() for kind in kinds}
    try:
        sys.modules.update(parts | homes)
        for home, kinds in _HOMES.items():
            for kind in kinds:
                setattr(homes[home], kind.__name__, kind)
                kind.__module__ = home
        content = {"epoch": -1, "best_fitness": None, "ema": None, "model": model.half(), **further}
        torch.save(content, path)
        model.float()
    finally:
        for kind, home in modules.items():
            kind.__module__ = home
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    return path
