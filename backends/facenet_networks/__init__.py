"""facenet-pytorch as sessions: its weights, how they are opened, what users set."""
