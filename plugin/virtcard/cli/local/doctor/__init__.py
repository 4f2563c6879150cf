"""`virtcard doctor`: what has to be right on this machine, one small check each."""
