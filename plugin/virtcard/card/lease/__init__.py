"""One card, several users: whose turn it is, for how long, and in what state the next one finds the card."""
