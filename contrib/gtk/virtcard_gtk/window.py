"""The main window: pages above one virtcardd, and what a person does there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from virtcard_gtk.activity_page import ActivityPage
from virtcard_gtk.cards_page import CardsPage
from virtcard_gtk.daemon import Daemon
from virtcard_gtk.grants_page import GrantsPage
from virtcard_gtk.model import CARD, DOMAIN, Card, Machine, Picture, picture
from virtcard_gtk.sentences import Problem
from virtcard_gtk.toolkit import Adw, Gio, GLib, Gtk
from virtcard_gtk.widgets import confirm, explain, name_it
from virtcard_gtk.wizard import Wizard
from virtcard_gtk.words import _

NO_OPTIONS: Final[dict[str, Any]] = {}


class Window:
    """Shows one of the daemons that there are; a person chooses when there are two."""

    def __init__(self, application: Any) -> None:
        self._busy: set[str] = set()
        self._update = 0
        self._picture = Picture()
        self._cards = CardsPage(self)
        self._activity = ActivityPage()
        self._grants = GrantsPage(self._tell)
        self._chooser = Gtk.DropDown(visible=False)
        name_it(self._chooser, _("Whose machines"))
        self._pages = Adw.ViewStack()
        self._whole = Gtk.Stack()
        self.window = Adw.ApplicationWindow(application=application, title=_("Smart Cards"))
        self._build()
        self._daemons = [Daemon(bus, self._changed) for bus in (Gio.BusType.SYSTEM, Gio.BusType.SESSION)]
        self._shown: list[Daemon] = []
        self._choice: Daemon | None = None
        self._chooser.connect("notify::selected", lambda *_arguments: self._chosen())
        self._show()

    def insert(self, key: str, source: str) -> None:
        """Put the card of a source into a machine, by its key."""
        if machine := self._machine(key):
            heading = _("The card was not inserted in {machine}").format(machine=machine.name)
            self._act(machine, "Insert", GLib.Variant("(sa{sv})", (source, _slot(machine))), heading)

    def eject(self, key: str) -> None:
        """Take it out."""
        if machine := self._machine(key):
            heading = _("The card in {machine} was not ejected").format(machine=machine.name)
            self._act(machine, "Eject", GLib.Variant("(a{sv})", (_slot(machine),)), heading)

    def enable(self, key: str) -> None:
        """Give it a virtual reader."""
        if machine := self._machine(key):
            heading = _("{machine} did not get a virtual reader").format(machine=machine.name)
            self._act(machine, "Enable", GLib.Variant("(a{sv})", (NO_OPTIONS,)), heading)

    def explain(self, machine: Machine) -> None:
        """Say what is wrong with a machine."""
        explain(self.window, machine.name, machine.error, machine.hint)

    def new_card(self) -> None:
        """Make a software card."""
        if daemon := self._daemon():
            Wizard(self.window, daemon)

    def delete_card(self, card: Card) -> None:
        """Remove a software card."""
        daemon = self._daemon()
        heading = _("{card} was not deleted").format(card=card.name)

        def delete() -> None:
            if daemon:
                daemon.call(
                    card.path, CARD, "Delete", GLib.Variant("(a{sv})", (NO_OPTIONS,)),
                    done=lambda _values: None, failed=lambda problem: self._tell(heading, problem),
                )  # fmt: skip

        body = _("Its keys are gone for good, and with them what only they can decrypt.")
        confirm(self.window, _("Delete {card}?").format(card=card.name), body, _("Delete"), delete)

    def _build(self) -> None:
        pages = (
            (self._cards, "cards", _("Cards"), "auth-smartcard-symbolic"),
            (self._activity, "activity", _("Activity"), "network-transmit-receive-symbolic"),
            (self._grants, "grants", _("Allowed"), "emblem-ok-symbolic"),
        )
        for page, name, title, icon in pages:
            self._pages.add_titled(page.widget, name, title).set_icon_name(icon)
        switcher = Adw.ViewSwitcherTitle(stack=self._pages, title=_("Smart Cards"))
        bar = Adw.ViewSwitcherBar(stack=self._pages)
        switcher.bind_property("title-visible", bar, "reveal", 0)
        header = Adw.HeaderBar(title_widget=switcher, centering_policy=Adw.CenteringPolicy.STRICT)
        header.pack_start(self._chooser)
        menu = Gtk.MenuButton(icon_name="open-menu-symbolic", menu_model=_menu(), primary=True)
        name_it(menu, _("Main menu"))
        header.pack_end(menu)
        self._whole.add_named(self._pages, "pages")
        self._whole.add_named(_nobody(), "nobody")
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        for widget in (header, self._whole, bar):
            box.append(widget)
        self.window.set_content(box)
        self.window.connect("notify::default-width", lambda *_arguments: self._fit())
        self.window.set_default_size(920, 620)
        self.window.set_size_request(360, 300)
        self._add_action("new-card", None, lambda _value: self.new_card())
        self._add_action("insert", "(ss)", lambda value: self.insert(*value))
        self._add_action("page", "s", self._pages.set_visible_child_name)

    def _add_action(self, name: str, kind: str | None, act: Callable[[Any], None]) -> None:
        action = Gio.SimpleAction.new(name, GLib.VariantType.new(kind) if kind else None)
        action.connect("activate", lambda _action, value: act(value.unpack() if value is not None else None))
        self.window.add_action(action)

    def _fit(self) -> None:
        self._cards.fit(self.window.get_default_size()[0])

    def _changed(self, _daemon: Daemon | None = None) -> None:
        """Many changes at a time are one for the eyes."""
        if not self._update:
            self._update = GLib.idle_add(self._show)

    def _show(self) -> bool:
        self._update = 0
        self._offer([daemon for daemon in self._daemons if daemon.present])
        daemon = self._daemon()
        self._picture = picture(daemon.objects) if daemon else Picture()
        self._whole.set_visible_child_name("pages" if daemon else "nobody")
        self.window.lookup_action("new-card").set_enabled(daemon is not None)
        self._cards.show(self._picture, frozenset(self._busy))
        self._activity.show(daemon, self._picture)
        self._grants.use(daemon)
        return bool(GLib.SOURCE_REMOVE)

    def _offer(self, daemons: list[Daemon]) -> None:
        """Which daemon is shown does not depend on which one came first, but on what was chosen."""
        if daemons != self._shown:
            self._shown = []  # what the chooser tells meanwhile is nobody's choice
            names = {Gio.BusType.SYSTEM: _("Machines of the System"), Gio.BusType.SESSION: _("My Machines")}
            self._chooser.set_model(Gtk.StringList.new([names[daemon.bus_type] for daemon in daemons]))
            self._chooser.set_selected(daemons.index(self._choice) if self._choice in daemons else 0)
            self._shown = daemons
        self._chooser.set_visible(len(daemons) > 1)

    def _chosen(self) -> None:
        self._choice = self._daemon() or self._choice
        self._changed()

    def _daemon(self) -> Daemon | None:
        if not self._shown:
            return None
        chosen: int = self._chooser.get_selected()
        return self._shown[min(chosen, len(self._shown) - 1)]

    def _act(self, machine: Machine, method: str, parameters: Any, heading: str) -> None:
        daemon = self._daemon()
        if daemon is None or machine.key in self._busy:
            return
        self._busy.add(machine.key)
        self._changed()

        def done() -> None:
            self._busy.discard(machine.key)
            self._changed()

        def failed(problem: Problem) -> None:
            done()
            self._tell(heading, problem)

        daemon.call(machine.path, DOMAIN, method, parameters, done=lambda _values: done(), failed=failed)

    def _tell(self, heading: str, problem: Problem) -> None:
        explain(self.window, heading, problem.sentence, problem.hint)

    def _machine(self, key: str) -> Machine | None:
        return next((machine for machine in self._picture.machines if machine.key == key), None)


def _slot(machine: Machine) -> dict[str, Any]:
    """Without a slot it is the first reader, which every virtcardd knows."""
    return {"slot": GLib.Variant("u", machine.slot)} if machine.slot else NO_OPTIONS


def _menu() -> Any:
    menu = Gio.Menu()
    menu.append(_("New Software Card…"), "win.new-card")
    menu.append(_("About Smart Cards"), "app.about")
    return menu


def _nobody() -> Any:
    return Adw.StatusPage(
        icon_name="auth-smartcard-symbolic",
        title=_("virtcardd Does Not Run"),
        description=_(
            "For machines of the system, start it with: systemctl start virtcardd\n"
            "For your own: systemctl --user start virtcardd"
        ),
    )
