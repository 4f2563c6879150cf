"""The bridge against QEMU's own TLS (GnuTLS), in both directions; no guest runs, so only the device speaks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from helpers.network import free_port
from helpers.pki import DAY, Authority, Issued, lay_out
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.tls import TlsSettings

MakeBridge = Callable[..., Watched]
Role = Literal["server", "client"]
PATIENCE = 30.0
"""Seconds: QEMU starts slowly on a busy machine, and is called less often by then."""


@contextmanager
def qemu(pki: Path, port: int, role: Role) -> Iterator[subprocess.Popen[str]]:
    """A machine with a virtual reader behind TLS, paused before its first instruction."""
    more = "server=on,wait=off" if role == "server" else "reconnect=1"
    process = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"),
            *("-object", f"tls-creds-x509,id=tls,dir={pki},endpoint={role},verify-peer=on,sanity-check=off"),
            *("-chardev", f"socket,id=card,host=127.0.0.1,port={port},tls-creds=tls,{more}"),
            *("-device", "qemu-xhci", "-device", "usb-ccid", "-device", "ccid-card-passthru,chardev=card"),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Lab:
    """An authority, and a directory for us and for QEMU."""

    authority: Authority
    folder: Path
    make_bridge: MakeBridge

    def directory(self, name: str, issued: Issued, *, revoked: bytes | None = None) -> Path:
        return lay_out(self.folder / name, self.authority, server=issued, client=issued, revoked=revoked)

    def issue(self, kind: str) -> Issued:
        """A certificate with something wrong; those of `nobody` and the `revoked` are good as such."""
        match kind:
            case "stranger":
                return Authority("stranger").issue()
            case "expired":
                return self.authority.issue(ends=-DAY)
            case "elsewhere":
                return self.authority.issue("elsewhere", addresses=())
            case _:
                return self.authority.issue()

    def bridge(self, pki: Path, port: int, qemus: Role) -> Watched:
        endpoint = Endpoint(Scheme.TLS, host="127.0.0.1", port=port, listen=qemus == "client")
        watched = self.make_bridge(endpoint, tls=TlsSettings(pki))
        watched.bridge.insert(FakeCard())
        return watched


@pytest.fixture
def lab(tmp_path: Path, make_bridge: MakeBridge) -> Lab:
    return Lab(Authority(), tmp_path, make_bridge)


@pytest.mark.parametrize("role", ["server", "client"])
def test_the_card_goes_in_and_out_and_in_again_after_the_machine_came_back(lab: Lab, role: Role) -> None:
    port, theirs = free_port(), lab.directory("qemu", lab.authority.issue())
    watched = lab.bridge(lab.directory("ours", lab.authority.issue()), port, role)
    for _ in range(2):
        with qemu(theirs, port, role) as process:
            watched.wait(BridgeState.INSERTED, timeout=PATIENCE)
            watched.bridge.eject()
            watched.wait(BridgeState.EMPTY, timeout=PATIENCE)
            watched.bridge.insert(FakeCard())
            watched.wait(BridgeState.INSERTED, timeout=PATIENCE)
            assert process.poll() is None
            watched.forget()
        watched.wait(BridgeState.CONNECTING, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("stranger", "is of no authority that we trust."),
        ("expired", "has expired."),
        ("revoked", "was revoked."),
        ("elsewhere", "is for another IP address."),
    ],
)
@pytest.mark.parametrize("role", ["server", "client"])
def test_a_qemu_with_a_wrong_certificate_gets_no_card(lab: Lab, role: Role, kind: str, sentence: str) -> None:
    """But the name of a client is its own."""
    wrong = lab.issue(kind)
    port, revoked = free_port(), lab.authority.revocation_pem(*[wrong] if kind == "revoked" else [])
    ours = lab.directory("ours", lab.authority.issue(), revoked=revoked)
    with qemu(lab.directory("qemu", wrong), port, role):
        watched = lab.bridge(ours, port, role)
        if (role, kind) == ("client", "elsewhere"):
            watched.wait(BridgeState.INSERTED, timeout=PATIENCE)
        else:
            watched.wait_error(sentence, PATIENCE)
            assert BridgeState.GREETING not in watched.states()


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        *(("server", kind) for kind in ("stranger", "expired", "revoked", "nobody")),
        *(("client", kind) for kind in ("stranger", "expired", "elsewhere")),
    ],
)
def test_qemu_does_not_take_a_wrong_certificate_of_ours(lab: Lab, role: Role, kind: str) -> None:
    """As a client, QEMU looks at no list of revoked certificates (crypto/tlscredsx509.c loads it for servers)."""
    wrong = lab.issue(kind)
    port, revoked = free_port(), lab.authority.revocation_pem(*[wrong] if kind == "revoked" else [])
    ours = lab.directory("ours", wrong)
    if kind == "nobody":
        (ours / "client-cert.pem").unlink()
        (ours / "client-key.pem").unlink()
    with qemu(lab.directory("qemu", lab.authority.issue(), revoked=revoked), port, role) as process:
        watched = lab.bridge(ours, port, role)
        watched.wait_error("hung up after the TLS handshake; it may not accept us.", PATIENCE)
        assert not {BridgeState.EMPTY, BridgeState.INSERTED} & set(watched.states())
        assert process.poll() is None
