"""Small pieces that several pages use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from virtcard_gtk.toolkit import Adw, Gio, GLib, Gtk
from virtcard_gtk.words import _


class Row(Protocol):
    """Something with a row in a list."""

    row: Any


R = TypeVar("R", bound=Row)


class Rows(Generic[R]):
    """A list in a group, of rows by key. A row stays while its key does, with the focus and an open menu in it."""

    def __init__(self, group: Any, make: Callable[[str], R], nothing: str) -> None:
        """`nothing` is what an empty list says."""
        self._make = make
        self._rows: dict[str, R] = {}
        self._list = Gtk.ListBox(selection_mode=Gtk.SelectionMode.NONE, css_classes=["boxed-list"])
        self._nothing = Adw.ActionRow(title=nothing, css_classes=["dim-label"])
        self._list.append(self._nothing)
        group.add(self._list)

    def get(self, key: str) -> R | None:
        """One of them, if it is there."""
        return self._rows.get(key)

    def keep(self, keys: Iterable[str]) -> dict[str, R]:
        """The rows of these keys, in this order, and no others."""
        before, root = self._rows, self._list.get_root()
        focus = root.get_focus() if root else None
        self._rows = {key: before.get(key) or self._make(key) for key in keys}
        for key in before.keys() - self._rows.keys():
            self._list.remove(before[key].row)
        for place, each in enumerate(self._rows.values()):
            self._put(each.row, place)
        self._nothing.set_visible(not self._rows)
        if focus and focus.is_ancestor(self._list) and root.get_focus() is not focus:
            focus.grab_focus()
        return self._rows

    def _put(self, row: Any, place: int) -> None:
        """Where it belongs; one that is there already is not touched."""
        if self._list.get_row_at_index(place) is not row:
            if row.get_parent():
                self._list.remove(row)
            self._list.insert(row, place)


def name_it(widget: Any, name: str) -> None:
    """What a screen reader says of a widget that shows no text, and a tooltip for the eyes."""
    widget.set_tooltip_text(name)
    label_it(widget, name)


def label_it(widget: Any, name: str) -> None:
    """What a screen reader says of a widget. The focus of a menu button is on the button within."""
    widget.update_property([Gtk.AccessibleProperty.LABEL], [name])
    if isinstance(widget, Gtk.MenuButton | Gtk.DropDown):
        label_it(widget.get_first_child(), name)


def icon_button(icon: str, name: str, clicked: Callable[[], None]) -> Any:
    """A flat button with an icon."""
    button = Gtk.Button(icon_name=icon, valign=Gtk.Align.CENTER, css_classes=["flat"])
    name_it(button, name)
    button.connect("clicked", lambda _button: clicked())
    return button


class InsertMenu:
    """A flat button with an icon, and its menu of what can be inserted."""

    def __init__(self, icon: str, title: str) -> None:
        self._title = title
        self._choices: list[tuple[str, str, str]] | None = None
        self.button = Gtk.MenuButton(icon_name=icon, valign=Gtk.Align.CENTER, css_classes=["flat"])

    def offer(self, choices: list[tuple[str, str, str]]) -> None:
        """These, as (text, machine's key, source). A menu that is open closes only when they differ."""
        if choices != self._choices:
            self._choices = choices
            self.button.set_menu_model(_menu(self._title, choices))


def _menu(title: str, choices: Iterable[tuple[str, str, str]]) -> Any:
    menu, section = Gio.Menu(), Gio.Menu()
    for text, key, source in choices:
        item = Gio.MenuItem.new(text.replace("_", "__"), None)
        item.set_action_and_target_value("win.insert", GLib.Variant("(ss)", (key, source)))
        section.append_item(item)
    menu.append_section(title, section)
    return menu


def explain(parent: Any, heading: str, sentence: str, hint: str) -> Any:
    """A dialog that says what went wrong, and what to do about it."""
    dialog = Adw.MessageDialog(transient_for=parent, heading=heading, body="\n\n".join(filter(None, (sentence, hint))))
    dialog.add_response("close", _("Close"))
    dialog.present()
    return dialog


def confirm(parent: Any, heading: str, body: str, action: str, then: Callable[[], None]) -> Any:
    """A dialog that asks before something that cannot be undone."""
    dialog = Adw.MessageDialog(transient_for=parent, heading=heading, body=body)
    dialog.add_response("cancel", _("Cancel"))
    dialog.add_response("go", action)
    dialog.set_response_appearance("go", Adw.ResponseAppearance.DESTRUCTIVE)
    dialog.set_default_response("cancel")
    dialog.set_close_response("cancel")
    dialog.connect("response", lambda _dialog, response: then() if response == "go" else None)
    dialog.present()
    return dialog


def scrolled(*children: Any, width: int = 900) -> Any:
    """A page: its parts below each other, not wider than can be read."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=24)
    for child in children:
        box.append(child)
    clamp = Adw.Clamp(
        maximum_size=width, child=box, margin_top=24, margin_bottom=24, margin_start=12, margin_end=12
    )  # fmt: skip
    return Gtk.ScrolledWindow(child=clamp, hscrollbar_policy=Gtk.PolicyType.NEVER, vexpand=True)
