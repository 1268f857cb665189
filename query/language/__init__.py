"""What a request may say: parsing into a tree of frozen dataclasses. No I/O."""
