"""How much each machine says to its card: a plot of the last two minutes, second by second."""

from __future__ import annotations

from typing import Any

from virtcard_gtk.daemon import PROPERTIES, Daemon
from virtcard_gtk.history import History
from virtcard_gtk.model import BRIDGE, Machine, Picture
from virtcard_gtk.sentences import activity
from virtcard_gtk.toolkit import Adw, GLib, Gtk
from virtcard_gtk.widgets import Rows, label_it, scrolled
from virtcard_gtk.words import _


class Plot:
    """A machine's row. Looking at the counter is the page's matter."""

    def __init__(self) -> None:
        self.history = History()
        self._machine: Machine | None = None
        self._title = Gtk.Label(xalign=0, hexpand=True, css_classes=["heading"])
        self._number = Gtk.Label(css_classes=["numeric", "dim-label"])
        self._area = Gtk.DrawingArea(content_height=72, hexpand=True, accessible_role=Gtk.AccessibleRole.IMG)
        self._area.set_draw_func(self._draw)
        top = Gtk.Box(spacing=12)
        top.append(self._title)
        top.append(self._number)
        box = Gtk.Box(
            orientation=Gtk.Orientation.VERTICAL, spacing=6,
            margin_top=12, margin_bottom=12, margin_start=12, margin_end=12,
        )  # fmt: skip
        box.append(top)
        box.append(self._area)
        self.row = Adw.PreferencesRow(child=box, activatable=False)

    def show(self, machine: Machine) -> None:
        """As it is now."""
        self._machine = machine
        self._title.set_label(machine.name)
        self.row.set_title(machine.name)
        self._number.set_label(_("{now}/s, at most {most}/s").format(now=self.history.now, most=self.history.most))
        label_it(self._area, activity(machine, self.history))
        self._area.queue_draw()

    def _draw(self, area: Any, context: Any, width: int, height: int) -> None:
        found, accent = area.get_style_context().lookup_color("accent_color")
        color = accent if found else area.get_style_context().get_color()
        points = self.history.points(width, height - 2)
        context.set_source_rgba(color.red, color.green, color.blue, 0.2)
        context.move_to(0, height)
        for x, y in points:
            context.line_to(x, y + 1)
        context.line_to(width, height)
        context.fill()
        context.set_source_rgba(color.red, color.green, color.blue, 1)
        context.set_line_width(2)
        for x, y in points:
            context.line_to(x, y + 1)
        context.stroke()


class ActivityPage:
    """Looks at the counters once a second, whichever page is in front: who turns to this one sees what just was."""

    def __init__(self) -> None:
        self._daemon: Daemon | None = None
        self._picture = Picture()
        group = Adw.PreferencesGroup(
            title=_("Activity"), description=_("Commands that virtual machines send to their cards, each second")
        )
        self._plots = Rows(group, lambda _bridge: Plot(), _("No machine with a virtual reader runs"))
        self.widget = scrolled(group)
        GLib.timeout_add_seconds(1, self._look)

    def show(self, daemon: Daemon | None, picture: Picture) -> None:
        """As it is now."""
        self._daemon = daemon
        self._picture = picture
        bridged = [machine for machine in picture.machines if machine.bridge]
        plots = self._plots.keep(machine.bridge for machine in bridged)
        for machine in bridged:
            plots[machine.bridge].show(machine)

    def _look(self) -> bool:
        if self._daemon and self.widget.get_root():
            for machine in self._picture.machines:
                if machine.bridge:
                    self._look_at(self._daemon, machine)
        return bool(GLib.SOURCE_CONTINUE)

    def _look_at(self, daemon: Daemon, machine: Machine) -> None:
        def looked(values: list[Any]) -> None:
            plot = self._plots.get(machine.bridge)
            if plot and isinstance(values[0], int):
                plot.history.add(values[0])
                plot.show(machine)

        parameters = GLib.Variant("(ss)", (BRIDGE, "Apdus"))
        daemon.call(machine.bridge, PROPERTIES, "Get", parameters, done=looked)
