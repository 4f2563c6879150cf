"""D-Bus: the only package that imports dbus_next."""

from __future__ import annotations

from virtcard.bus.compat import prepare_dbus_next

prepare_dbus_next()
