"""Others who analyse faces: a file here with a subclass of `Contestant` is one of them."""
