"""ONNX Runtime's execution providers, what is asked for, and the truth about what runs."""
