"""Galleries: named people with several embeddings each, kept in a folder, searched by likeness."""
