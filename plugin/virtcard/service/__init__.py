"""What the daemon knows and does, apart from D-Bus."""
