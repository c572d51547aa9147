"""Generated modules, see `make generate`."""
