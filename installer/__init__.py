"""The parts of `install.py`: standard library only, never imported by the pack itself."""
