"""What each command is called and takes, a module for each room."""
