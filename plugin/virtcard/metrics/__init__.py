"""Metrics for Prometheus, as a file for the textfile collector of its node exporter."""
