"""The commands `search`, `migrate` and `gateway`."""
