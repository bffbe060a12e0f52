"""People for galleries: embeddings of their own, and the same a little disturbed."""

from __future__ import annotations

import torch
from torch import Tensor

from fastface.utils.gallery.contents import Addition

SPACE = "test@0123456789ab"


def vectors_of(number: int, count: int = 1, spread: float = 0.2, dim: int = 32) -> Tensor:
    """`[count,dim]` embeddings of a person of this number, in every process the same."""
    generator = torch.Generator().manual_seed(number)
    own = torch.randn(1, dim, generator=generator)
    return (own + spread * torch.randn(count, dim, generator=generator)) * 10


def person(number: int, count: int = 1) -> Addition:
    origins = tuple(f"photo {place}" for place in range(count))
    return Addition(f"person {number}", vectors_of(number, count), origins)
