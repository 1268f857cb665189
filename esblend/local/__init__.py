"""The one-machine stack: a real Elasticsearch, a real Valkey, feed, worker and gateway, without Docker."""
