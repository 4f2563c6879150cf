"""`virtcard card`: software cards, worked on in their store without the daemon."""
