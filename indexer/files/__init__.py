"""Reads documents from files for `esblend index`."""
