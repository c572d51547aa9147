"""Network configuration that stays: the files of the network managers. Loaded only by what writes them."""
