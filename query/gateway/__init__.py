"""HTTP: routing, handlers, the pass-through proxy, limits and response shapes. Nothing imports this room."""
