"""Which domain may use which card, for what, and who is asked: rules in, decisions out. Pure but for reading files."""
