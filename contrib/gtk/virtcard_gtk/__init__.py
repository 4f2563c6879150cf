"""The desktop application: smart cards on one side, virtual machines on the other.

It needs PyGObject, GTK 4 and libadwaita of the system, and nothing of virtcard but its D-Bus interfaces.
"""
