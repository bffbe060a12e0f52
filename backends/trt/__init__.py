"""TensorRT: its three libraries, building engines, keeping them, and whether their answers fit."""
