"""A software card is made in three steps: what it is, its PIN and PUK, and the wait for its keys."""

from __future__ import annotations

from typing import Any, Final

from virtcard_gtk.confide import confide
from virtcard_gtk.daemon import MANAGER, ROOT_PATH, Daemon
from virtcard_gtk.naming import is_name, name_of, subject_of
from virtcard_gtk.sentences import Problem
from virtcard_gtk.toolkit import Adw, Gdk, GLib, Gtk
from virtcard_gtk.widgets import label_it
from virtcard_gtk.words import _

TYPES: Final = ("piv", "cac")
KEYS: Final = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")


class Wizard:
    """A window of its own, above `parent`."""

    def __init__(self, parent: Any, daemon: Daemon) -> None:
        self._daemon = daemon
        self._person = Adw.EntryRow(title=_("Whose card? For example Jane Doe"))
        self._name = Adw.EntryRow(title=_("Name of the card"))
        self._type = Adw.ComboRow(title=_("Kind"), model=Gtk.StringList.new(["PIV", "CAC"]))
        self._key = Adw.ComboRow(title=_("Keys"), model=Gtk.StringList.new([key.upper() for key in KEYS]))
        self._pin = Adw.PasswordEntryRow(title=_("PIN, 6 to 8 digits"))
        self._again = Adw.PasswordEntryRow(title=_("The PIN again"))
        self._puk = Adw.PasswordEntryRow(title=_("PUK, 8 characters, for when the PIN is blocked"))
        self._stack = Gtk.Stack(transition_type=Gtk.StackTransitionType.SLIDE_LEFT)
        self._trouble = Gtk.Label(wrap=True, xalign=0, css_classes=["error"], selectable=True)
        self._closed = False
        self._cancel = Gtk.Button(label=_("Cancel"))
        self._back = Gtk.Button(label=_("Back"))
        self._next = Gtk.Button(css_classes=["suggested-action"])
        self.window: Any = Adw.Window(title=_("New Software Card"), transient_for=parent, modal=True, default_width=460)
        self._build()
        self._go("card")
        self.window.present()

    def _build(self) -> None:
        self._person.connect("changed", lambda row: self._name.set_text(name_of(row.get_text())))
        for row in (self._person, self._name, self._pin, self._again, self._puk):
            row.connect("changed", lambda _row: self._check())
            row.connect("entry-activated", lambda _row: self._forward())
        self._stack.add_named(_form(_("What Card?"), self._person, self._name, self._type, self._key), "card")
        self._stack.add_named(_form(_("PIN and PUK"), self._pin, self._again, self._puk), "pin")
        spinner = Gtk.Spinner(spinning=True, width_request=48, height_request=48, halign=Gtk.Align.CENTER)
        label_it(spinner, _("The keys of the card are made"))
        wait = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=12, valign=Gtk.Align.CENTER)
        wait.append(spinner)
        wait.append(Gtk.Label(label=_("The keys of the card are made…")))
        self._stack.add_named(wait, "wait")
        self._back.connect("clicked", lambda _button: self._go("card"))
        self._next.connect("clicked", lambda _button: self._forward())
        header = Adw.HeaderBar(show_end_title_buttons=False, show_start_title_buttons=False)
        self._cancel.connect("clicked", lambda _button: self.window.close())
        self.window.connect("close-request", lambda _window: self._close())
        header.pack_start(self._cancel)
        header.pack_end(self._next)
        header.pack_end(self._back)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        box.append(header)
        body = Gtk.Box(
            orientation=Gtk.Orientation.VERTICAL, spacing=12,
            margin_top=24, margin_bottom=24, margin_start=24, margin_end=24, vexpand=True,
        )  # fmt: skip
        body.append(self._stack)
        body.append(self._trouble)
        box.append(body)
        self.window.set_content(box)
        escape = Gtk.ShortcutController()
        close = Gtk.CallbackAction.new(lambda widget, _arguments: bool(widget.close()) or True)
        escape.add_shortcut(Gtk.Shortcut(trigger=Gtk.ShortcutTrigger.parse_string("Escape"), action=close))
        self.window.add_controller(escape)

    def _go(self, page: str) -> None:
        self._stack.set_visible_child_name(page)
        self._trouble.set_label("")
        self._back.set_visible(page == "pin")
        self._next.set_visible(page != "wait")
        self._next.set_label(_("Next") if page == "card" else _("Create"))
        self._check()
        {"card": self._person, "pin": self._pin}.get(page, self._stack).grab_focus()

    def _check(self) -> None:
        if self._stack.get_visible_child_name() == "card":
            good = is_name(self._name.get_text())
        else:
            pin = self._pin.get_text()
            good = bool(pin) and pin == self._again.get_text() and bool(self._puk.get_text())
        self._next.set_sensitive(good)

    def _forward(self) -> None:
        if not self._next.get_sensitive():
            return
        if self._stack.get_visible_child_name() == "card":
            self._go("pin")
        elif self._stack.get_visible_child_name() == "pin":
            self._create()

    def _create(self) -> None:
        person = self._person.get_text().strip()
        options = {"type": GLib.Variant("s", TYPES[self._type.get_selected()])}
        options["key"] = GLib.Variant("s", KEYS[self._key.get_selected()])
        if person:
            options["subject"] = GLib.Variant("s", subject_of(person))
        secrets = {"pin": self._pin.get_text(), "puk": self._puk.get_text()}
        self._go("wait")
        self._daemon.call(
            ROOT_PATH,
            MANAGER,
            "CreateCard",
            GLib.Variant("(sa{sv})", (self._name.get_text(), options)),
            done=lambda values: self._confide(values, secrets),
            failed=self._failed,
        )

    def _confide(self, answer: list[Any], secrets: dict[str, str]) -> None:
        """Without them there is no card: who has closed the window by now wants none. With them it is made."""
        if not self._closed:
            self._cancel.set_label(_("Close"))
            confide(answer[0] if answer else None, secrets, self._made, self._failed)

    def _close(self) -> bool:
        self._closed = True
        return bool(Gdk.EVENT_PROPAGATE)

    def _made(self, _answer: dict[str, Any]) -> None:
        for row in (self._pin, self._again, self._puk):
            row.set_text("")
        self.window.close()

    def _failed(self, problem: Problem) -> None:
        if self._closed:
            return
        self._cancel.set_label(_("Cancel"))
        self._go("pin")
        self._trouble.set_label("\n".join(filter(None, (problem.sentence, problem.hint))))


def _form(title: str, *rows: Any) -> Any:
    group = Adw.PreferencesGroup(title=title)
    for row in rows:
        group.add(row)
    return group
