"""The application on a screen of its own (Xvfb), between a person who presses and types and a private bus."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helpers.bus import REPOSITORY
from helpers.waiting import wait_until

SCREENSHOTS: Final = REPOSITORY / ".cache/screenshots"
APPLICATION: Final = REPOSITORY / "contrib/gtk"
PATIENCE: Final = 20.0


class GtkApp:
    """Made by `gtk_app`."""

    def __init__(self, process: subprocess.Popen[str], log: Path, environment: Mapping[str, str]) -> None:
        self._process = process
        self._log = log
        self._environment = environment
        self._framebuffer = log.parent / "Xvfb_screen0"

    @property
    def log(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text(errors="replace")

    def run(self, line: str) -> Any:
        """The value of a line of Python inside; helpers/gtk_driver.py has the words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the application has ended:\n{self.log[-3000:]}"
        values = json.loads(answer)
        assert "error" not in values, values["error"]
        return values["value"]

    def texts(self) -> list[str]:
        """All that can be read."""
        found: list[str] = self.run("texts()")
        return found

    def sees(self, text: str) -> None:
        """Wait until somebody can read this."""
        try:
            wait_until(lambda: text in self.texts(), PATIENCE, f"{text!r} is on the screen", 0.1)
        except AssertionError as error:
            self.photograph("app-failed")
            raise AssertionError(f"{error}, but {self.texts()}; {self.log[-2000:]}") from None

    def misses(self, text: str) -> None:
        """Wait until nobody can read it any more."""
        wait_until(lambda: text not in self.texts(), PATIENCE, f"{text!r} is gone", 0.1)

    def press(self, name: str) -> None:
        """Press a button, once it can be pressed."""
        wait_until(lambda: self.run(f"can_press({name!r})"), PATIENCE, f"{name!r} can be pressed", 0.1)
        self.run(f"named({name!r}).emit('clicked')")

    def choose(self, button: str, item: str) -> None:
        """Open the menu of a button, and choose an item."""
        wait_until(lambda: self.run(f"can_press({button!r})"), PATIENCE, f"{button!r} can be pressed", 0.1)
        self.run(f"named({button!r}).popup()")
        self.sees(item)
        self.run(f"item({item!r}).emit('clicked')")

    def type(self, row: str, text: str) -> None:
        """Type into a row."""
        self.run(f"type_in({row!r}, {text!r})")

    def keys(self, *names: str) -> None:
        """Press keys, as xdotool calls them."""
        self._xdotool("key", "--delay", "30", *names)

    def drag(self, source: str, target: str) -> None:
        """Take it with the pointer and let it go over something else."""
        (x, y), (to_x, to_y) = self.run(f"center({source!r})"), self.run(f"center({target!r})")
        self._xdotool("mousemove", str(x), str(y), "mousedown", "1")
        for part in range(1, 11):
            self._xdotool("mousemove", str(x + (to_x - x) * part // 10), str(y + (to_y - y) * part // 10))
        self._xdotool("mousemove", str(to_x + 1), str(to_y), "mouseup", "1")

    def photograph(self, name: str) -> Path:
        """Keep a picture of all windows."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(picture(self._painted(), *self.run("size()")))
        return path

    def _painted(self) -> bytes:
        """The screen, when it does not change any more. A spinner never ends: a second is enough."""
        before = self.run("frames(draw=True)")
        wait_until(lambda: self.run("frames(draw=True)") > before + 1, 5, "the window is painted")
        seen = [b"", self._framebuffer.read_bytes()]
        deadline = time.monotonic() + 1

        def rests() -> bool:
            seen.append(self._framebuffer.read_bytes())
            return seen[-1] == seen[-2] or time.monotonic() > deadline

        wait_until(rests, 5, "the screen rests", 0.25)
        return seen[-1]

    def _xdotool(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], check=True, env=self._environment)


@contextmanager
def gtk_app(session: str, directory: Path, *, system: str = "unix:path=/nowhere", **variables: str) -> Iterator[GtkApp]:
    """One on this session bus; `directory` is its home."""
    runtime = directory / "run"
    runtime.mkdir(mode=0o700)
    with screen(directory) as display:
        environment = os.environ | {
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_DATA_HOME": str(directory / "data"),
            "DBUS_SESSION_BUS_ADDRESS": session,
            "DBUS_SYSTEM_BUS_ADDRESS": system,
            "DISPLAY": display,
            "GDK_BACKEND": "x11",
            "GSK_RENDERER": "cairo",
            "GTK_A11Y": "test",
            "GSETTINGS_BACKEND": "memory",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{APPLICATION}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }
        log = directory / "app.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/usr/bin/python3", REPOSITORY / "tests/helpers/gtk_driver.py"],
                env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
            )  # fmt: skip
        try:
            yield GtkApp(process, log, environment)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def screen(directory: Path) -> Iterator[str]:
    """An X server without a screen; its display."""
    reading, writing = os.pipe()
    with (directory / "xvfb.log").open("wb") as log:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-fbdir", directory, "-screen", "0", "1280x800x24"],
            stdout=log, stderr=log, pass_fds=[writing],
        )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        assert number, (directory / "xvfb.log").read_text()
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


def picture(framebuffer: bytes, width: int, height: int) -> bytes:
    """The upper left of what Xvfb shows, as PNG. Xvfb keeps it in the format of xwd (XWDFile.h), four bytes a pixel."""
    start, *_, screen_width, screen_height = struct.unpack(">6I", framebuffer[:24])
    stride, colors = struct.unpack(">I", framebuffer[48:52])[0], struct.unpack(">I", framebuffer[76:80])[0]
    pixels = start + 12 * colors
    width, height = min(width, screen_width), min(height, screen_height)
    lines = []
    for row in range(height):
        line = framebuffer[pixels + row * stride : pixels + row * stride + 4 * width]
        rgb = bytearray(3 * width)
        rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
        lines.append(b"\0" + rgb)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
