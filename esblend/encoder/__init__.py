"""Text to vectors: sentence-transformers folders on PyTorch or OpenVINO, and models behind HTTP services."""
