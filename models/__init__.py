"""What a network is for: one file or folder a task, each over a `Session` of any engine.

`opening.py` is imported when a model is opened: ComfyUI's start does not pay for what it imports.
"""
