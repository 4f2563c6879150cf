"""A running link between one virtual reader and one card."""
