"""What every part of the agent runs on: the loop, channels, workers, the log."""
