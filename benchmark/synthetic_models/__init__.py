"""Graphs with the layers of InsightFace's released networks and random weights."""
