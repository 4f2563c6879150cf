"""What persons answered with "always", and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtcard_gtk.daemon import MANAGER, ROOT_PATH, Daemon
from virtcard_gtk.sentences import Problem, grant
from virtcard_gtk.toolkit import Adw, GLib, Gtk
from virtcard_gtk.widgets import Rows, label_it, scrolled
from virtcard_gtk.words import _


class GrantRow:
    """One grant."""

    def __init__(self, number: str, revoke: Callable[[str], None]) -> None:
        self.row = Adw.ActionRow()
        self._button = Gtk.Button(label=_("Revoke"), valign=Gtk.Align.CENTER)
        self._button.connect("clicked", lambda _button: revoke(number))
        self.row.add_suffix(self._button)

    def show(self, untrusted: dict[str, Any]) -> None:
        """As virtcardd lists it."""
        title, subtitle = grant(untrusted)
        self.row.set_use_markup(False)
        self.row.set_title(title)
        self.row.set_subtitle(subtitle)
        label_it(self._button, _("Revoke what was allowed: {grant}").format(grant=title))


class GrantsPage:
    """Reads the grants when it is opened, and after each change of its own."""

    def __init__(self, failed: Callable[[str, Problem], None]) -> None:
        self._failed = failed
        self._daemon: Daemon | None = None
        group = Adw.PreferencesGroup(
            title=_("Always Allowed"), description=_("What you answered with “Always Allow”, until you revoke it")
        )
        nothing = _("Nothing is allowed for always")
        self._rows = Rows(group, lambda number: GrantRow(number, self._revoke), nothing)
        self.widget = scrolled(group)
        self.widget.connect("map", lambda _widget: self.refresh())

    def use(self, daemon: Daemon | None) -> None:
        """Of this virtcardd."""
        if daemon is not self._daemon:
            self._daemon = daemon
            self.refresh()

    def refresh(self) -> None:
        """Read them anew."""
        if self._daemon and self._daemon.present:
            self._daemon.call(
                ROOT_PATH,
                MANAGER,
                "ListGrants",
                GLib.Variant("(a{sv})", ({},)),
                done=lambda values: self._show(values[0]),
            )
        else:
            self._show([])

    def _show(self, grants: list[dict[str, Any]]) -> None:
        rows = self._rows.keep(str(each["id"]) for each in grants)
        for each in grants:
            rows[str(each["id"])].show(each)

    def _revoke(self, number: str) -> None:
        if self._daemon:
            self._daemon.call(
                ROOT_PATH,
                MANAGER,
                "RevokeGrant",
                GLib.Variant("(sa{sv})", (number, {})),
                done=lambda _values: self.refresh(),
                failed=lambda problem: self._failed(_("The grant was not revoked"), problem),
            )
