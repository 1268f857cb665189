"""From change to task: the change feed, its checkpoints, and the status of an index."""
