"""The application, and its actions."""

from __future__ import annotations

import sys
from typing import Any, Final

from virtcard_gtk.toolkit import Adw, Gio, Gtk
from virtcard_gtk.window import Window
from virtcard_gtk.words import _

APPLICATION_ID: Final = "org.virtcard.Cards"
VERSION: Final = "0.1.0"
_SHORTCUTS: Final = {
    "app.quit": "<Control>q",
    "win.new-card": "<Control>n",
    "win.page::cards": "<Alt>1",
    "win.page::activity": "<Alt>2",
    "win.page::grants": "<Alt>3",
}


class Application:
    """One window, which is shown again when the application is started again."""

    def __init__(self) -> None:
        self.application = Adw.Application(application_id=APPLICATION_ID)
        self._window: Window | None = None
        self.application.connect("startup", lambda _application: self._start())
        self.application.connect("activate", lambda _application: self.show())

    def show(self) -> Any:
        """The window, in front."""
        if self._window is None:
            self._window = Window(self.application)
            self._window.window.connect("close-request", lambda _window: self._closed())
        self._window.window.present()
        return self._window

    def _closed(self) -> bool:
        self.application.quit()
        return False

    def _start(self) -> None:
        self._add_action("quit", self.application.quit)
        self._add_action("about", self._about)
        for action, keys in _SHORTCUTS.items():
            self.application.set_accels_for_action(action, [keys])

    def _add_action(self, name: str, act: Any) -> None:
        action = Gio.SimpleAction.new(name, None)
        action.connect("activate", lambda _action, _value: act())
        self.application.add_action(action)

    def _about(self) -> None:
        Adw.AboutWindow(
            transient_for=self.application.get_active_window(),
            application_name=_("Smart Cards"),
            application_icon=APPLICATION_ID,
            version=VERSION,
            website="https://virtcard.org",
            license_type=Gtk.License.LGPL_2_1,
            comments=_("A smart card in a virtual machine, without taking it away from the host"),
        ).present()


def main() -> int:
    """Run until its window is closed."""
    return int(Application().application.run(sys.argv))
