"""Software cards: what is kept of a card, its PINs and keys, and the applets that guests see."""
