"""A headless GNOME Shell on a private bus: it is clicked with a pointer, looked at, and photographed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from helpers.bus import REPOSITORY, private_bus
from helpers.logind import mock_logind
from helpers.waiting import wait_until

UUID: Final = "virtcard@virtcard.org"
EXTENSION: Final = REPOSITORY / "contrib/gnome-shell"
SCREENSHOTS: Final = REPOSITORY / ".cache/screenshots"
PATIENCE: Final = 20.0
COMMAND: Final = ("gnome-shell", "--headless", "--wayland", "--unsafe-mode", "--no-x11")
STAGE: Final = """
const {Clutter, GLib, St} = imports.gi;
const walk = actor => [actor, ...actor.get_children().flatMap(walk)];
const texts = () => walk(global.stage).filter(each => each instanceof Clutter.Text && each.mapped && each.text
    && each.get_paint_opacity() > 0);
const pressable = actor => actor.reactive && !(actor instanceof Clutter.Text) ? actor : pressable(actor.get_parent());
const center = actor => {
    const [x, y] = actor.get_transformed_position();
    const [width, height] = actor.get_transformed_size();
    return [x + width / 2, y + height / 2];
};
"""
"""Words for scripts: what is on the stage, and where."""


def builder() -> ModuleType:
    """contrib/gnome-shell/build.py."""
    spec = importlib.util.spec_from_file_location("gnome_shell_build", EXTENSION / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class GnomeShell:
    """Made by `gnome_shell`."""

    environment: Mapping[str, str]
    log_path: Path

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self.log_path.read_text(errors="replace")

    def troubles(self) -> list[str]:
        """Lines of the log that tell of faults of ours."""
        lines = self.log.splitlines()
        return [line for line in lines if UUID in line or "virtcard" in line.lower() or "St-CRITICAL" in line]

    def run(self, script: str) -> Any:
        """The value of a script's last expression, in the shell."""
        good, text = self._call("org.gnome.Shell", "/org/gnome/Shell", "Eval", "s", f"(() => {{{STAGE}{script}}})()")
        assert good, f"{script}: {text}"
        return json.loads(text) if text else None

    def wait(self, script: str, what: str, seconds: float = PATIENCE) -> None:
        """Wait until a script gives something true."""
        try:
            wait_until(lambda: self.run(script), seconds, what, 0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; on the screen: {self.texts()}; log:\n{self.log[-3000:]}") from None

    def texts(self) -> list[str]:
        """All that can be read on the screen."""
        found: list[str] = self.run("return texts().map(each => each.text);")
        return found

    def sees(self, text: str) -> None:
        """Wait until somebody can read this, as a whole label."""
        self.wait(f"return texts().some(each => each.text === {json.dumps(text)});", f"{text!r} is on the screen")

    def misses(self, text: str) -> None:
        """Wait until nobody can read it any more."""
        self.wait(f"return !texts().some(each => each.text === {json.dumps(text)});", f"{text!r} is gone")

    def click(self, text: str) -> None:
        """Move the pointer to what carries this label, and press it."""
        self.sees(text)
        self.click_on(f"pressable(texts().find(each => each.text === {json.dumps(text)}))")

    def click_on(self, actor: str) -> None:
        """The same for an actor."""
        self._settled(actor)
        self.run(f"""
            const [x, y] = center({actor});
            const seat = Clutter.get_default_backend().get_default_seat();
            global.pointer ??= seat.create_virtual_device(Clutter.InputDeviceType.POINTER_DEVICE);
            const now = () => GLib.get_monotonic_time();
            global.pointer.notify_absolute_motion(now(), x, y);
            global.pointer.notify_button(now(), Clutter.BUTTON_PRIMARY, Clutter.ButtonState.PRESSED);
            global.pointer.notify_button(now(), Clutter.BUTTON_PRIMARY, Clutter.ButtonState.RELEASED);
        """)

    def open_menu(self, title: str = "Smart Cards") -> None:
        """Open the quick settings, and in them our menu."""
        self.close_menu()
        self.run("Main.panel.statusArea.quickSettings.menu.open();")
        toggle = "walk(global.stage).find(each => each.name === 'virtcard-toggle')"
        self.wait(f"return {toggle}?.mapped;", "the toggle is there")
        self.click_on(toggle)
        self.wait(f"return texts().filter(each => each.text === {json.dumps(title)}).length === 2;", "our menu is open")

    def close_menu(self) -> None:
        """Close the quick settings."""
        self.run("Main.panel.statusArea.quickSettings.menu.close();")

    def open_and_close(self) -> None:
        """Open the quick settings alone, and close them."""
        self.run("Main.panel.statusArea.quickSettings.menu.open();")
        self.close_menu()

    def indicator(self) -> str:
        """What the icon in the top bar says, or "" while there is none."""
        text: str = self.run("""
            const box = walk(global.stage).find(each => each.name === 'virtcard-indicator');
            return box?.mapped && box.get_first_child().visible ? box.get_first_child().accessible_name : '';
        """)
        return text

    def enable(self, enabled: bool = True) -> None:
        """Enable or disable the extension, as the Extensions application does."""
        member = "EnableExtension" if enabled else "DisableExtension"
        assert self._call("org.gnome.Shell.Extensions", "/org/gnome/Shell", member, "s", UUID) == [True]
        self.wait(f"return Main.extensionManager.lookup('{UUID}').state === {1 if enabled else 2};", member)

    def speak(self, language: str) -> None:
        """The extension, enabled anew, has another language."""
        self.run(f"GLib.setenv('LANGUAGE', '{language}', true);")
        self.enable(False)
        self.enable()

    def photograph(self, name: str) -> Path:
        """Keep a picture of the screen."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.run("""
            global.painted = false;
            const id = global.stage.connect('after-paint', () => {
                global.stage.disconnect(id);
                global.painted = true;
            });
            global.stage.queue_redraw();
        """)
        self.wait("return global.painted;", "the screen is painted")
        camera = ("org.gnome.Shell.Screenshot", "/org/gnome/Shell/Screenshot", "Screenshot")
        assert self._call(*camera, "bbs", "false", "false", str(path))[0] is True
        return path

    def _settled(self, actor: str) -> None:
        """Wait until it does not move any more."""
        places: list[Any] = [None]

        def rests() -> bool:
            places.append(self.run(f"return center({actor});"))
            return bool(places[-1] == places[-2])

        wait_until(rests, PATIENCE, f"{actor} rests", 0.05)

    def _call(self, interface: str, path: str, member: str, signature: str, *arguments: str) -> list[Any]:
        done = subprocess.run(
            ["busctl", f"--address={self.environment['DBUS_SESSION_BUS_ADDRESS']}", "--json=short", "call",
             "org.gnome.Shell", path, interface, member, signature, *arguments],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ConnectionError(done.stderr)
        data: list[Any] = json.loads(done.stdout)["data"]
        return data


@contextmanager
def gnome_shell(session: str, directory: Path, *, extensions: Sequence[str] = (UUID,)) -> Iterator[GnomeShell]:
    """One on this session bus, with the extension for it in its place; `directory` is its home."""
    build = builder()
    build.unpack(build.FLAVOURS[0], directory / "data/gnome-shell/extensions" / UUID)
    settings = directory / "config/glib-2.0/settings/keyfile"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f"[org/gnome/shell]\nenabled-extensions={list(extensions)}\nwelcome-dialog-last-shown-version='99'\n"
        "[org/gnome/desktop/interface]\nenable-animations=false\n"
    )
    runtime = directory / "run"
    runtime.mkdir(mode=0o700)
    with private_bus() as system, mock_logind(system.address):
        environment = os.environ | {
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_DATA_HOME": str(directory / "data"),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "DBUS_SESSION_BUS_ADDRESS": session,
            "DBUS_SYSTEM_BUS_ADDRESS": system.address,
            "GSETTINGS_BACKEND": "keyfile",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "en",
        }
        wait_until(lambda: _owned(system.address, "org.freedesktop.login1"), PATIENCE, "logind is there")
        log = directory / "shell.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*COMMAND, "--virtual-monitor", "1280x800"],
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        shell = GnomeShell(environment, log)
        try:
            wait_until(lambda: _is_up(shell, process), 60, "GNOME Shell has started", 0.2)
            _tidy(shell)
            yield shell
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _owned(address: str, name: str) -> bool:
    done = subprocess.run(
        ["busctl", f"--address={address}", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
         "org.freedesktop.DBus", "NameHasOwner", "s", name], check=False, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip() == "b true"


def _is_up(shell: GnomeShell, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"GNOME Shell ended with {process.returncode}:\n{shell.log[-3000:]}"
    try:
        return shell.run("return Main.layoutManager._startingUp;") is False
    except ConnectionError:
        return False


def _tidy(shell: GnomeShell) -> None:
    """Nothing is on the screen but the desktop: no overview, no words about being root."""
    shell.run("Main.overview.hide();")
    shell.wait("return !Main.overview.visible;", "the overview is gone")
    shell.run("Main.messageTray.getSources().forEach(source => source.destroy());")
