"""A fleet of mock guests, scraped through an exporter and the hub: `python -m bench.fleet --help`, docs/fleet.md."""
