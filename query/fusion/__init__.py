"""Pure numbers: ranked lists, rrf, linear, normalisers, combinations."""
