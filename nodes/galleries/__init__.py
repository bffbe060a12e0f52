"""What the nodes for galleries do; imported when one runs, so that ComfyUI's start is short."""
