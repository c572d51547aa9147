"""The declarations of the commands, a module for each subject."""
