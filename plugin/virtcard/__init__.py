"""A smart card inside a virtual machine, without taking it from the host."""
