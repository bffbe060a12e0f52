"""The object that takes the place of InsightFace's `FaceAnalysis` in other packs."""
