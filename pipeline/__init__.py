"""What nodes, routes, commands and other packs call: choose, load, analyse, release."""
