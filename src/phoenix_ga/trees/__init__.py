"""Directories as tar streams, and back: what the agent's helper process and the host share."""
