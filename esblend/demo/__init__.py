"""The demo: Python's documentation, searched by words, by meaning, and by both."""
