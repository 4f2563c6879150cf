"""Cards on one side, machines on the other: a card is dragged to a machine, or chosen from a menu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from virtcard_gtk.model import Card, Machine, Picture, State
from virtcard_gtk.sentences import description, status
from virtcard_gtk.toolkit import Adw, Gdk, GObject, Gtk
from virtcard_gtk.widgets import InsertMenu, Rows, icon_button, label_it, name_it, scrolled
from virtcard_gtk.words import _

WIDE: Final = 680
"""Pixels that two columns need."""


class Acts(Protocol):
    """What a person can want."""

    def insert(self, machine: str, source: str) -> None:
        """Put the card of a source into a machine, by its key."""

    def eject(self, machine: str) -> None:
        """Take it out."""

    def enable(self, machine: str) -> None:
        """Give it a virtual reader."""

    def explain(self, machine: Machine) -> None:
        """Say what is wrong with a machine."""

    def new_card(self) -> None:
        """Make a software card."""

    def delete_card(self, card: Card) -> None:
        """Remove a software card."""


class CardRow:
    """A reader or software card, which can be dragged."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self.row = Adw.ActionRow()
        self._icon = Gtk.Image()
        self._menu = InsertMenu("go-next-symbolic", _("Insert in"))
        self._delete = icon_button("user-trash-symbolic", "", self._deleted)
        self._card: Card | None = None
        self.row.add_prefix(self._icon)
        self.row.add_suffix(self._delete)
        self.row.add_suffix(self._menu.button)
        drag = Gtk.DragSource(actions=Gdk.DragAction.COPY)
        drag.connect("prepare", self._dragged)
        self.row.add_controller(drag)

    def show(self, card: Card, machines: Sequence[Machine]) -> None:
        """As it is now."""
        self._card = card
        self.row.set_title(card.name)
        self.row.set_use_markup(False)
        owners = [machine.name for machine in machines if machine.path in card.domains and machine.card == card.name]
        self.row.set_subtitle(description(card, owners))
        self._icon.set_from_icon_name("auth-smartcard-symbolic" if card.present else "media-removable-symbolic")
        targets = [machine for machine in machines if machine.takes_cards and machine.path not in card.domains]
        self._menu.button.set_sensitive(card.present and bool(targets))
        self._menu.offer([(machine.name, machine.key, card.source) for machine in targets])
        name_it(self._menu.button, _("Insert {card} in a virtual machine").format(card=card.name))
        self._delete.set_visible(card.software)
        self._delete.set_sensitive(not card.domains)
        name_it(self._delete, _("Delete {card}").format(card=card.name))

    def _dragged(self, _source: Any, _x: float, _y: float) -> Any:
        if self._card is None or not self._card.present:
            return None
        return Gdk.ContentProvider.new_for_value(GObject.Value(str, self._card.source))

    def _deleted(self) -> None:
        if self._card:
            self._acts.delete_card(self._card)


class MachineRow:
    """A machine, on which a card can be dropped."""

    def __init__(self, key: str, acts: Acts) -> None:
        self._key = key
        self._acts = acts
        self.row = Adw.ActionRow()
        self._machine: Machine | None = None
        self._spinner = Gtk.Spinner(valign=Gtk.Align.CENTER)
        label_it(self._spinner, _("Please wait"))
        self._active = Gtk.Image(icon_name="media-record-symbolic", css_classes=["accent"])
        name_it(self._active, _("The machine talks to its card"))
        self._why = icon_button("dialog-warning-symbolic", "", self._asked_why)
        self._enable = Gtk.Button(label=_("Add Reader"), valign=Gtk.Align.CENTER)
        self._enable.connect("clicked", lambda _button: acts.enable(key))
        self._eject = icon_button("media-eject-symbolic", "", lambda: acts.eject(key))
        self._menu = InsertMenu("list-add-symbolic", _("Insert"))
        self.row.add_prefix(Gtk.Image(icon_name="computer-symbolic"))
        for widget in (self._spinner, self._active, self._why, self._enable, self._eject, self._menu.button):
            self.row.add_suffix(widget)
        drop = Gtk.DropTarget.new(str, Gdk.DragAction.COPY)
        drop.connect("drop", self._dropped)
        self.row.add_controller(drop)

    def show(self, machine: Machine, cards: Sequence[Card], *, busy: bool) -> None:
        """As it is now; `busy` while something that was asked for is on its way."""
        self._machine = machine
        self.row.set_title(machine.name)
        self.row.set_use_markup(False)
        self.row.set_subtitle(_("Please wait…") if busy else status(machine))
        self._spinner.set_visible(busy)
        self._spinner.set_spinning(busy)
        self._active.set_visible(machine.active)
        self._why.set_visible(bool(machine.error))
        name_it(self._why, _("What is wrong with {machine}?").format(machine=machine.name))
        self._enable.set_visible(machine.state is State.NO_READER)
        self._enable.set_sensitive(not busy)
        label_it(self._enable, _("Add a virtual reader to {machine}").format(machine=machine.name))
        self._eject.set_visible(machine.state is State.INSERTED)
        self._eject.set_sensitive(not busy)
        name_it(self._eject, _("Eject {card} from {machine}").format(card=machine.card, machine=machine.name))
        offered = [card for card in cards if card.present and machine.path not in card.domains]
        self._menu.button.set_visible(machine.takes_cards)
        self._menu.button.set_sensitive(bool(offered) and not busy)
        self._menu.offer([(card.name, machine.key, card.source) for card in offered])
        name_it(self._menu.button, _("Insert a card in {machine}").format(machine=machine.name))

    def _dropped(self, _target: Any, source: str, _x: float, _y: float) -> bool:
        if self._machine is None or not self._machine.takes_cards:
            return False
        self._acts.insert(self._key, source)
        return True

    def _asked_why(self) -> None:
        if self._machine:
            self._acts.explain(self._machine)


class CardsPage:
    """Both sides."""

    def __init__(self, acts: Acts) -> None:
        cards = Adw.PreferencesGroup(title=_("Readers and Cards"))
        new = Gtk.Button(icon_name="list-add-symbolic", css_classes=["flat"], action_name="win.new-card")
        name_it(new, _("New software card"))
        cards.set_header_suffix(new)
        machines = Adw.PreferencesGroup(title=_("Virtual Machines"))
        nothing = _("Put a card in a reader, or make a software card")
        self._cards = Rows(cards, lambda _path: CardRow(acts), nothing)
        self._machines = Rows(machines, lambda key: MachineRow(key, acts), _("libvirt has no virtual machine here"))
        self._sides = Gtk.Box(spacing=24, homogeneous=True)
        for group in (cards, machines):
            group.set_valign(Gtk.Align.START)
            self._sides.append(group)
        self.widget = scrolled(self._sides, width=1000)

    def fit(self, width: int) -> None:
        """One below the other in a narrow window."""
        narrow = width < WIDE
        self._sides.set_orientation(Gtk.Orientation.VERTICAL if narrow else Gtk.Orientation.HORIZONTAL)
        self._sides.set_homogeneous(not narrow)

    def show(self, picture: Picture, busy: frozenset[str]) -> None:
        """As it is now; `busy` are keys of machines."""
        rows = self._cards.keep(card.path for card in picture.cards)
        for card in picture.cards:
            rows[card.path].show(card, picture.machines)
        machines = self._machines.keep(machine.key for machine in picture.machines)
        for machine in picture.machines:
            machines[machine.key].show(machine, picture.cards, busy=machine.key in busy)
