"""What other programs do with guests through `integrations/`."""
