"""The change feed: reads changes shard by shard and turns them into tasks."""
