"""ONNX graphs as data: read them, give them a batch axis, execute them in torch."""
