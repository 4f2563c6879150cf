"""The four pages, each from where its matter stands: the commands' own help, the README, and the D-Bus interfaces."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

import click

from roff import Page
from virtcard import daemon
from virtcard.cli.app import EPILOG, app
from virtcard.version import VERSION

HOUSE = Path(__file__).resolve().parents[2]
DBUS = HOUSE / "dbus"

SEE_ALSO = {
    "virtcard.1": "virsh(1), virtcard-policy(5), org.virtcard1(5), virtcardd(8)",
    "virtcardd.8": "virtcard(1), virtcard-policy(5), org.virtcard1(5), libvirtd(8), pcscd(8)",
    "virtcard-policy.5": "virtcard(1), virtcardd(8)",
    "org.virtcard1.5": "virtcard(1), virtcardd(8), dbus-send(1), busctl(1)",
}
ENVIRONMENT = {
    "VIRSH_DEFAULT_CONNECT_URI, LIBVIRT_DEFAULT_URI": "Which virtcardd is meant where no option says it, as for virsh.",
    "NO_COLOR": "Nothing is coloured, on a terminal either.",
    "VIRTCARD_TRACEBACK": "Set to 1, an error that nobody foresaw is shown whole.",
    "PCSCLITE_CSOCK_NAME": "The socket of pcscd.",
}
FILES = {
    "/etc/virtcard/policy.d/*.toml": "The administrator's rules; see virtcard-policy(5).",
    "/etc/virtcard/templates": "XML templates in place of virtcard's own.",
    "/var/lib/virtcard/cards": "The system's software cards.",
    "/var/lib/virtcard/policy.d": 'What persons answered with "always".',
    "/run/virtcard/vm": "The sockets on which the machines' QEMUs listen.",
    "~/.config/virtcard/policy.d, ~/.local/share/virtcard": "The same for virtcardd --session.",
}
SIGNALS = {
    "SIGTERM, SIGINT": "Take the cards out in order, and end. Machines go on, and so do their readers.",
    "SIGHUP": "Read the policy again.",
    "SIGABRT": "End at once, and say where each thread is: what systemd's watchdog does to a daemon that hangs.",
}


def pages(date: str) -> dict[str, str]:
    """The text of each page by its file name; `date` is what stands at its foot."""
    made = {
        "virtcard.1": _command(date),
        "virtcardd.8": _daemon(date),
        "virtcard-policy.5": _policy(date),
        "org.virtcard1.5": _interfaces(date),
    }
    for name, page in made.items():
        page.section("See also")
        page.text(SEE_ALSO[name])
    return {name: str(page) for name, page in made.items()}


# virtcard(1) and virtcardd(8).


def _command(date: str) -> Page:
    page = Page("virtcard", 1, "smart cards for virtual machines", date=date, source=f"virtcard {VERSION}")
    page.section("Synopsis")
    page.text("**virtcard** [**--system** | **--session** | **-c** URI] COMMAND [ARGUMENT]...")
    page.section("Description")
    _help(page, app)
    page.section("Options")
    _options(page, app)
    page.section("Commands")
    for command, path in _commands(app, click.Context(app, info_name="virtcard")):
        page.subsection(f"{path} {' '.join(command.collect_usage_pieces(click.Context(command)))}".strip())
        _help(page, command)
        _options(page, command)
    page.section("Exit status")
    page.text(EPILOG.replace("\b", "").replace("Exit codes: ", ""))
    _terms(page, "Environment", ENVIRONMENT)
    return page


def _daemon(date: str) -> Page:
    what = "gives virtual machines a smart card reader, and cards"
    page = Page("virtcardd", 8, what, date=date, source=f"virtcard {VERSION}")
    page.section("Synopsis")
    page.text("**virtcardd** [OPTION]...")
    page.section("Description")
    page.markdown(_section(README, "How it works").split("[ARCHITECTURE.md]")[0])
    page.section("Options")
    _options(page, daemon.command)
    _terms(page, "Signals", SIGNALS)
    _terms(page, "Files", FILES)
    return page


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, str]]:
    """Every command and every group below this one, with its whole name."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield command, f"{context.command_path} {name}"
            yield from _commands(command, click.Context(command, info_name=name, parent=context))
        elif command is not None and not command.hidden:
            yield command, f"{context.command_path} {name}"


def _help(page: Page, command: click.Command) -> None:
    r"""A paragraph after a \b keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(command.help or "").strip()):
        text, mark, lines = paragraph.partition("\b\n")
        if text.strip():
            page.text(text)
        if mark:
            page.code(lines.split("\n"))


def _options(page: Page, command: click.Command) -> None:
    context = click.Context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and "--help" not in parameter.opts:
            page.item(f"**{record[0]}**", record[1])


def _terms(page: Page, title: str, terms: dict[str, str]) -> None:
    page.section(title)
    for term, meaning in terms.items():
        page.item(f"`{term}`", meaning)


# virtcard-policy(5).

README = (HOUSE / "README.md").read_text()


def _section(document: str, title: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"The README has no section '{title}' any more; see {__file__}.")
    return found[1]


def _policy(date: str) -> Page:
    what = "which virtual machine may use which card"
    page = Page("virtcard-policy", 5, what, date=date, source=f"virtcard {VERSION}")
    page.section("Description")
    page.markdown(_section(README, "Policy"))
    for title in ("Commands and PINs", "Sharing one card"):
        page.section(title)
        page.markdown(_section(README, title))
    page.section("Example")
    page.code((HOUSE / "contrib/policy/example.toml").read_text().rstrip().split("\n"))
    return page


# org.virtcard1(5).


def _interfaces(date: str) -> Page:
    page = Page("org.virtcard1", 5, "the D-Bus interfaces of virtcardd", date=date, source=f"virtcard {VERSION}")
    describe_interfaces(page)
    return page


class Writer(Protocol):
    """What a reference is written with: a man page, or another kind of document."""

    def section(self, title: str, /) -> None:
        """A heading."""

    def subsection(self, title: str, /) -> None:
        """A smaller one."""

    def text(self, markdown: str, /) -> None:
        """A paragraph."""

    def item(self, term: str, markdown: str, /) -> None:
        """A term, and behind it what it means."""


def describe_interfaces(page: Writer) -> None:
    """Everything that the XML in dbus/ tells."""
    page.section("Description")
    page.text(
        "virtcardd(8) is **org.virtcard1** on the system bus, and virtcardd **--session** on the session bus. Its root "
        "is /org/virtcard1, with the one org.freedesktop.DBus.ObjectManager; every change of a property is told by "
        "PropertiesChanged, and errors are org.virtcard1.Error.*."
    )
    for path in sorted(DBUS.glob("org.virtcard1.*.xml")):
        _interface(page, path.read_text())


def _interface(page: Writer, xml: str) -> None:
    interface = ElementTree.fromstring(xml).find("interface")  # noqa: S314 (our own file)
    if interface is None:
        return
    name = interface.get("name", "")
    documents = dict(_documents(xml))
    page.section(name)
    for paragraph in documents.get(name, []):
        page.text(_plain(paragraph))
    for member in interface:
        if member.tag in ("method", "signal", "property"):
            _member(page, member, documents.get(member.get("name", ""), []))


def _member(page: Writer, member: ElementTree.Element, paragraphs: list[str]) -> None:
    page.subsection(f"{member.tag} {member.get('name')} {_signature(member)}".strip())
    for paragraph in paragraphs:
        argument = re.match(r"@(\S+): (.*)", paragraph, re.DOTALL)
        if argument:
            page.item(f"**{argument[1]}**", _plain(argument[2]))
        else:
            page.text(_plain(paragraph))


def _signature(member: ElementTree.Element) -> str:
    if member.tag == "property":
        return f"{member.get('type')}, {member.get('access')}"
    given = [f"{each.get('type')} {each.get('name')}" for each in member if each.get("direction", "in") == "in"]
    taken = [f"{each.get('type')} {each.get('name')}" for each in member if each.get("direction") == "out"]
    return f"({', '.join(given)})" + (f" \\(-> ({', '.join(taken)})".replace("\\(->", "->") if taken else "")


def _documents(xml: str) -> Iterator[tuple[str, list[str]]]:
    """Name and paragraphs of each comment of the form `NAME:`, arguments first."""
    for comment in re.findall(r"<!--\n(.*?)-->", xml, re.DOTALL):
        head, _, rest = textwrap.dedent(comment).strip().partition("\n")
        if head.endswith(":"):
            marked = re.sub(r"^@", "\n@", rest, flags=re.MULTILINE)
            paragraphs = [each.strip() for each in re.split(r"\n\s*\n", marked) if each.strip()]
            yield head.rstrip(":"), [re.sub(r"^@short_description: (.*)", r"\1.", each) for each in paragraphs]


def _plain(text: str) -> str:
    """The XML comments are no Markdown."""
    return text.replace("*", "\N{ASTERISK OPERATOR}").replace("`", "'")
