"""From fused candidates to hits: cursors, passages, explanations, totals."""
