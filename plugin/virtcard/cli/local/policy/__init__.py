"""`virtcard policy`: look at the rules, without virtcardd but for what there is to decide about."""
