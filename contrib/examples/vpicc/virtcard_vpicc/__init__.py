"""The card source `vpicc:PORT` for virtcard: a card behind a TCP connection that speaks vsmartcard's protocol."""
