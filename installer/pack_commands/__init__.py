"""The commands that import the pack itself: `demo`, `bench`, `engine`."""
