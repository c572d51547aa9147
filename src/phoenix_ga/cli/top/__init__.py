"""`phoenixctl top`: a live table of guests."""
