"""The demonstration: Python's own documentation, searched by words, by meaning, and by both."""
