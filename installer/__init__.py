"""The parts of `install.py`: standard library only, but for the folder `pack_commands`."""
