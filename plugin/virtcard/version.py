"""The one place that holds the version: a constant, so that `virtcard --version` reads no metadata."""

VERSION = "0.1.0"
