"""From change to task: the change feed, its checkpoints, and what they say of an index."""
