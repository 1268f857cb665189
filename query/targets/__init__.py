"""Which attached indices a search targets."""
