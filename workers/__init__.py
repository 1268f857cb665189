"""From task to vector: Celery tasks that read, split, encode and conditionally write."""
