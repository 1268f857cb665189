"""What an attached index looks like: its attachment, its mapping, its documents' text."""
