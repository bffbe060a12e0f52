"""Ways to run a network: a file with a `Backend` class is one; folders are what several share."""
