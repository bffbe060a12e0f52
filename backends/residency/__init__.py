"""Models in memory: which there are, when they go, and whether there is room for one more."""
