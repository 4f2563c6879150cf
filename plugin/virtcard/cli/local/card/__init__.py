"""`virtcard card`: software cards, worked on in their store, or through the system's daemon by who may not."""
