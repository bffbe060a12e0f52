"""Pure functions and containers on tensors, model packs, and the one seam to ComfyUI (`host`)."""
