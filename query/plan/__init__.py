"""Pure functions from the request tree to Elasticsearch request bodies."""
