"""ComfyUI-FastFace: see README.md. Nothing happens here but the export of the nodes."""

# ComfyUI imports this folder as a package; pytest may import this file on its own.
if __package__:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    WEB_DIRECTORY = "./web"

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
