"""A SPICE client of the smart card channel alone: what the bridge gets is a link that speaks VSCard."""
