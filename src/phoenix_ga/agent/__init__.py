"""The guest's side. Standard library only; imports `phoenix_ga.wire` and nothing of the host's side."""
