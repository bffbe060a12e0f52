"""Films: which frames they have, how they are shown, and their pixels, a few frames at a time."""
