"""The verbs that work without a daemon."""
