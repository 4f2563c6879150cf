"""What stands in front of a card: the command filter, the PIN guard, and the questions to a person."""
