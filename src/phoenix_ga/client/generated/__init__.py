"""Generated code; do not edit. `make generate` writes it from the declarations and the async classes."""
