"""Both ends of the protocol, for tests: a client that shares no code with the library, and a scripted agent."""
