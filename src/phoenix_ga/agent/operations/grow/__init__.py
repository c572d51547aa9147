"""Growing a filesystem, and what it is on, after its disk was enlarged."""
