"""The hub: many clients on the port of one guest. See docs/hub.md."""
