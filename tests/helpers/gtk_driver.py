"""The application in a process of its own, driven from outside: a line of Python on stdin, its value as JSON on stdout.

Run by /usr/bin/python3, which has PyGObject. Nothing of this is in the application itself.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from typing import Any

from virtcard_gtk.application import Application
from virtcard_gtk.toolkit import Adw, Gdk, GLib, Gtk

Words = dict[str, Any]


def walk(widget: Any) -> list[Any]:
    """A widget and all below it that can be seen."""
    found, child = [widget], widget.get_first_child()
    while child:
        if child.get_mapped():
            found += walk(child)
        child = child.get_next_sibling()
    return found


def windows() -> list[Any]:
    """All of them, the newest first."""
    return [window for window in Gtk.Window.list_toplevels() if window.get_mapped()]


def everything() -> list[Any]:
    """All that is on the screen."""
    return [widget for window in windows() for widget in walk(window)]


def texts() -> list[str]:
    """All that can be read."""
    return [widget.get_text() for widget in everything() if isinstance(widget, Gtk.Label) and widget.get_text()]


def named(name: str) -> Any:
    """What a person calls so: by its text, its tooltip, or the title of its row."""
    for widget in everything():
        if isinstance(widget, Gtk.Button | Gtk.MenuButton) and name in {widget.get_tooltip_text(), _label(widget)}:
            return widget
    for widget in everything():
        if isinstance(widget, Adw.PreferencesRow) and widget.get_title() == name:
            return widget
    for widget in everything():
        if isinstance(widget, Gtk.Label) and widget.get_text() == name:
            return widget
    raise LookupError(f"{name!r} is not on the screen: {texts()}")


def item(text: str) -> Any:
    """An item of the menu that is open."""
    return next(
        widget
        for widget in everything()
        if widget.__gtype__.name == "GtkModelButton" and widget.get_property("text") == text
    )


def _label(widget: Any) -> str:
    return str(widget.get_label() or "")


def center(name: str) -> tuple[int, int]:
    """Where it is, on a screen whose corner is the window's."""
    widget = named(name)
    root = widget.get_root()
    good, bounds = widget.compute_bounds(root)
    assert good
    surface_x, surface_y = root.get_surface_transform()
    return (
        int(bounds.get_x() + bounds.get_width() / 2 + surface_x),
        int(bounds.get_y() + bounds.get_height() / 2 + surface_y),
    )


def type_in(name: str, text: str) -> None:
    """Type into a row."""
    named(name).set_text(text)


def can_press(name: str) -> bool:
    """It is there, and does something."""
    try:
        return bool(named(name).is_sensitive())
    except LookupError:
        return False


def focused() -> str:
    """What the keyboard would press, as a screen reader calls it."""
    widget = windows()[0].get_focus()
    while widget and not widget.get_tooltip_text():
        widget = widget.get_parent()
    return str(widget.get_tooltip_text()) if widget else ""


def frames(*, draw: bool = False) -> int:
    """How many pictures of the newest window were painted; another one comes when it is to `draw`."""
    window = windows()[0]
    if draw:
        window.queue_draw()
    return int(window.get_frame_clock().get_frame_counter())


def size() -> tuple[int, int]:
    """Of the largest window, with its shadow."""
    surfaces = [window.get_surface() for window in windows()]
    return max(each.get_width() for each in surfaces), max(each.get_height() for each in surfaces)


def nameless() -> list[str]:
    """Buttons and entries for which a screen reader has no words."""
    return [
        type(widget).__name__
        for widget in everything()
        if isinstance(widget, Gtk.Button | Gtk.MenuButton | Gtk.DrawingArea | Gtk.DropDown)
        and widget.get_focusable()
        and not _label_of(widget)
    ]


def _label_of(widget: Any) -> bool:
    has = widget.get_tooltip_text() or Gtk.test_accessible_has_property(widget, Gtk.AccessibleProperty.LABEL)
    texts_in_it = any(isinstance(each, Gtk.Label) and each.get_text() for each in walk(widget))
    return bool(has or texts_in_it)


def _run(words: Words, line: str) -> bool:
    try:
        value = eval(line, words)
        answer: dict[str, Any] = {"value": value if isinstance(value, bool | int | str | list | tuple) else None}
    except Exception:  # noqa: BLE001
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
    return bool(GLib.SOURCE_REMOVE)


def main() -> int:
    """Run the application until stdin ends."""
    application = Application()
    words: Words = {**globals(), "app": application}

    def read() -> None:
        for line in sys.stdin:
            GLib.idle_add(_run, words, line)
        GLib.idle_add(application.application.quit)

    threading.Thread(target=read, daemon=True).start()
    return int(application.application.run([sys.argv[0]]))


if __name__ == "__main__":
    Gdk.set_allowed_backends("x11")
    sys.exit(main())
