"""GTK and its relatives, in the versions that the rest is written for."""

import gi

gi.require_version("Adw", "1")
gi.require_version("Gtk", "4.0")

from gi.repository import Adw, Gdk, Gio, GLib, GObject, Gtk  # noqa: E402

__all__ = ["Adw", "GLib", "GObject", "Gdk", "Gio", "Gtk"]
