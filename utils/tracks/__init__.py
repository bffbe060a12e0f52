"""Faces over time: who is who in the frames of a film."""
