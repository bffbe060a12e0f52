"""Pure functions and containers on tensors, model packs, and the one seam to ComfyUI (`host`)."""

import logging

from .text import ReadableRecords

logging.getLogger("FastFace").addFilter(ReadableRecords())
