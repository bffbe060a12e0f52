"""Detection mode `robust`: a second, wider look at the images in which no face is sure."""
