"""Ports: the places where clients connect."""
