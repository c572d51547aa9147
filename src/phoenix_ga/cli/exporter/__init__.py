"""`phoenixctl exporter`: guests as targets of Prometheus. See docs/exporter.md."""
