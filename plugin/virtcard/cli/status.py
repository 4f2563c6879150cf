"""`virtcard status`: how virtcardd stands, what its bridges do, and what to look at."""

from __future__ import annotations

import pwd

import click

from virtcard.cli import shapes
from virtcard.cli.options import Choice
from virtcard.cli.screen import accented, clock, fields, printable, say, say_json, table
from virtcard.cli.traffic import traffic
from virtcard.names import MANAGER, ROOT_PATH

TITLES = ("Domain", "Card", "State", "Since", "APDUs", "Refused", "Wrong PINs", "Card errors")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The daemon's state as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> None:
    """Show how virtcardd stands.

    Its connections to libvirt and pcscd, how much there is of everything, every bridge, and what to do where something
    went wrong.
    """
    with choice.open() as client:
        found = shapes.status(client.properties(ROOT_PATH, MANAGER), client.objects())
    if as_json:
        say_json(found)
    else:
        _show(found)


def _show(found: shapes.Status) -> None:
    fields(
        [
            ("virtcardd", f"{found['version']} ({found['instance']}), since {clock(found['started'])}"),
            ("libvirt", f"{found['libvirt']} ({found['uri']}){_versions(found, 'libvirt', 'qemu')}"),
            ("pcscd", f"{found['pcsc']}{_versions(found, 'pcsc-lite')}"),
            ("Policy", f"{found['policy']}: {found['policy_error']}" if found["policy_error"] else found["policy"]),
            ("Agents", ", ".join(map(_user, found["agents"])) or _nobody(found["instance"])),
            ("Domains", f"{found['domains']}, {found['enabled']} enabled"),
            ("Readers", str(found["readers"])),
            ("Bridges", f"{found['bridges']}, {traffic(found)}"),
            *([("Traces", f"{found['traces']}: 'virtcard info' tells by whom")] if found["traces"] else []),
            *([("Metrics", found["metrics"])] if found["metrics"] else []),
        ]
    )
    if found["bridge_list"]:
        say("")
        table(TITLES, [_row(each) for each in found["bridge_list"]])
    if found["problems"]:
        say("")
    for problem in found["problems"]:
        word = f"{accented(problem['severity'])}:{' ' * (7 - len(problem['severity']))}"
        print(f"{word} {printable(problem['about'])}: {printable(problem['message'])}")
        say(f"{'':<8} hint: {problem['hint']}")


def _nobody(instance: str) -> str:
    whose = "your" if instance == "session" else "root's"
    return f"none: what the policy asks is a no, but for {whose} own calls"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _versions(found: shapes.Status, *names: str) -> str:
    titles = {"libvirt": "libvirt", "qemu": "QEMU", "pcsc-lite": "pcsc-lite"}
    known = [f"{titles[name]} {found['versions'][name]}" for name in names if name in found["versions"]]
    return f", {', '.join(known)}" if known else ""


def _row(bridge: shapes.NamedBridge) -> tuple[str, ...]:
    """One line; a second reader of a domain is told by its slot."""
    name = bridge["name"] or bridge["domain"]
    numbers = (bridge["apdus"], bridge["refused"], bridge["pin_failures"], bridge["errors"])
    return (
        f"{name} ({bridge['slot']})" if bridge["slot"] else name,
        bridge["source"] or "-",
        bridge["state"],
        clock(bridge["since"]),
        *map(str, numbers),
    )
