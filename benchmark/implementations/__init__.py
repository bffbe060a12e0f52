"""Others who analyse faces: a file here with a subclass of `Implementation` is one of them."""
