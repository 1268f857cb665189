"""Text to unit vectors: any sentence-transformers folder, read from its own files, on PyTorch."""
