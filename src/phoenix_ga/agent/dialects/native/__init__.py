"""The Phoenix dialect: one handler for each command declared in `phoenix_ga.wire.commands`."""
