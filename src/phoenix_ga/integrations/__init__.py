"""Connectors that other programs find through entry points. They use the client library only."""
