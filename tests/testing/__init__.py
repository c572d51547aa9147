"""The fixtures for people who test systems with guests."""
