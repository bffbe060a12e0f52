"""Faces over time: who is who in the frames of a film."""

#: How tracks are chosen; see `choosing.choose`.
BY = ("largest", "longest", "most similar", "ids", "all")
#: What is shown where a face was not found for a while; see `timeline.TrackLine`.
MISSING = ("interpolate", "previous", "black")
