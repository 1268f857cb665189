"""From request to hits: the gateway, request parsing, plans, fusion and pages."""
