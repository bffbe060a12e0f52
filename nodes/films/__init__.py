"""What the nodes for films do; imported when one runs, so that ComfyUI's start is short."""
