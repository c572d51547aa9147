"""The languages in which a client may ask: each turns requests into operations and shapes answers."""
