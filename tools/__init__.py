"""Programs that build what is shipped and shown; not part of the distribution."""
