"""Opened networks: tensors in, tensors out, whatever runs them."""
