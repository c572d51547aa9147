"""Programs of their own, which the agent starts for work that takes long or much memory."""
