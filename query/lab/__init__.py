"""The relevance lab: measure a search with judgements, tune it, train its encoder."""
