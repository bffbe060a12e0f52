"""Downloads of model packs: resumable, verified, whole or not at all."""
