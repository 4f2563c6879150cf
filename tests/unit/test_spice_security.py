"""Passwords, subjects and certificates as SPICE clients have them, and the monitor that tells who is there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from helpers.pki import Authority
from helpers.spice_server import key
from virtcard import limits
from virtcard.bridge.spice.qmp import QmpSocket
from virtcard.bridge.spice.security import SpiceSecurity, default_authority
from virtcard.bridge.spice.subject import Subject
from virtcard.bridge.spice.ticket import check_password, encrypt
from virtcard.bridge.tls import Side
from virtcard.errors import Disconnected, Failed, InvalidArgument, PeerError, TimedOut


def der(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# Tickets.


@pytest.mark.parametrize("password", [b"", b"ticket", "pässwörd".encode(), b"x" * 60])
def test_a_ticket_is_the_password_and_a_nul(password: bytes) -> None:
    ticket = encrypt(check_password(password), der(key().public_key()))
    assert len(ticket) == 128
    assert key().decrypt(ticket, OAEP(MGF1(SHA1()), SHA1(), None)) == password + b"\0"


def test_two_tickets_of_one_password_differ() -> None:
    public = der(key().public_key())
    assert encrypt(b"ticket", public) != encrypt(b"ticket", public)


@pytest.mark.parametrize("password", [b"x" * 61, b"a\0b"])
def test_a_password_that_no_server_can_have_is_refused(password: bytes) -> None:
    with pytest.raises(InvalidArgument, match="at most 60 bytes"):
        check_password(password)


CURVE = der(ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.mark.parametrize("public", [b"", bytes(162), CURVE], ids=["empty", "zeros", "curve"])
def test_a_key_that_is_none_is_the_server_s_fault(public: bytes) -> None:
    with pytest.raises(PeerError):
        encrypt(b"ticket", public)


# Subjects.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CN=host", (("commonName", "host"),)),
        (
            "C=IL,O=Red Hat,CN=my server",
            (("countryName", "IL"), ("organizationName", "Red Hat"), ("commonName", "my server")),
        ),
        ("C=IL, CN=x", (("countryName", "IL"), ("commonName", "x"))),
        (r"O=Acme\, Inc.,CN=a\\b", (("organizationName", "Acme, Inc."), ("commonName", "a\\b"))),
        ("serialNumber=7", (("serialNumber", "7"),)),
        ("CN=a=b", (("commonName", "a=b"),)),
    ],
)
def test_a_subject_is_read(text: str, parts: tuple[tuple[str, str], ...]) -> None:
    assert Subject.parse(text).parts == parts


@pytest.mark.parametrize("text", ["", "host", "CN=", "CN=a,", "=a", "CN=a,b", "CN=a\\", ",CN=a"])
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Subject.parse(text)


@given(st.text())
def test_any_text_is_a_subject_or_an_invalid_argument(text: str) -> None:
    try:
        assert Subject.parse(text).parts
    except InvalidArgument:
        return


def test_a_certificate_is_of_a_subject_with_the_same_parts_in_order() -> None:
    subject = Subject.parse("C=IL,CN=host")
    names = ((("countryName", "IL"),), (("commonName", "host"),))
    assert subject.is_of({"subject": names})
    assert not subject.is_of({"subject": names[::-1]})
    assert not subject.is_of({"subject": names[1:]})
    assert not subject.is_of({"subject": (*names, (("commonName", "more"),))})
    assert not subject.is_of({})


# Authorities.


def test_with_a_subject_the_host_s_name_does_not_matter_and_the_authority_does(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(Authority().certificate_pem())
    assert SpiceSecurity(file).context(Side.CLIENT).check_hostname
    context = SpiceSecurity(file, Subject.parse("CN=a")).context(Side.CLIENT)
    assert not context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="missing"):
        SpiceSecurity(tmp_path / "none.pem").context(Side.CLIENT)


def test_the_authority_is_looked_for_where_spice_clients_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_authority() == tmp_path / ".spicec/spice_truststore.pem"


# Monitors.

GREETING: dict[str, object] = {"QMP": {"version": {}, "capabilities": []}}
CHANNEL = {
    "host": "10.0.0.7", "family": "ipv4", "port": "5000", "connection-id": 7, "channel-type": 1, "channel-id": 0,
    "tls": False,
}  # fmt: skip
INFO = {"return": {"enabled": True, "channels": [CHANNEL]}}


@pytest.fixture
def path() -> Iterator[str]:
    with TemporaryDirectory(prefix="vc-") as folder:
        yield f"{folder}/qmp"


@contextmanager
def monitor(path: str, *lines: object, serves: bool = True) -> Iterator[list[bytes]]:
    """Says one line at once, and one more for each that it hears."""
    heard: list[bytes] = []

    def run() -> None:
        link, _ = server.accept()
        with link:
            for line in lines:
                link.sendall(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
                heard.append(link.recv(4096))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        thread = threading.Thread(target=run)
        if serves:
            thread.start()
        yield heard
        if serves:
            thread.join(10)


def test_the_monitor_is_asked_who_is_there(path: str) -> None:
    with monitor(path, GREETING, {"return": {}}, INFO) as heard:
        (session,) = QmpSocket(path).clients()
    assert session.connection_id == 7
    assert [json.loads(line)["execute"] for line in heard[:2]] == ["qmp_capabilities", "query-spice"]


def test_events_between_answers_are_passed_over(path: str) -> None:
    events = b'{"event": "RESUME"}\r\n' * 3
    with monitor(path, GREETING, events + b'{"return": {}}\r\n', events + json.dumps(INFO).encode() + b"\n"):
        assert QmpSocket(path).clients()


def test_what_an_earlier_client_left_unread_comes_before_the_greeting(path: str) -> None:
    left = b'{"return": {}}\r\n{"event": "SPICE_DISCONNECTED"}\r\n'
    with monitor(path, left + json.dumps(GREETING).encode() + b"\n", {"return": {}}, INFO):
        assert QmpSocket(path).clients()


def test_a_qemu_without_spice_says_so(path: str) -> None:
    with monitor(path, GREETING, {"return": {}}, {"error": {"class": "CommandNotFound", "desc": "..."}}):
        assert failure(QmpSocket(path).clients, Failed) == (
            "QEMU's monitor does not know query-spice; it was built without SPICE."
        )


@pytest.mark.parametrize("line", [b"SSH-2.0-x\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\n"])
def test_who_is_no_monitor_is_told(path: str, line: bytes) -> None:
    with monitor(path, line):
        assert "no monitor of QEMU" in failure(QmpSocket(path).clients, Failed)


def test_an_endless_answer_is_cut_off(path: str) -> None:
    with monitor(path, b"x" * (limits.QMP_ANSWER_MAX + 1)):
        assert "more than it can" in failure(QmpSocket(path).clients, Failed)


def test_a_monitor_that_hangs_up_is_away(path: str) -> None:
    with monitor(path, GREETING):
        assert "hung up" in failure(QmpSocket(path).clients, Disconnected)


def test_no_monitor_is_told_as_that(path: str) -> None:
    assert "There is no monitor" in failure(QmpSocket(path).clients, Disconnected)


def test_a_monitor_that_another_program_uses_does_not_answer(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QMP_PATIENCE", 0.1)
    with monitor(path, serves=False):
        assert "another program may use it" in failure(QmpSocket(path).clients, TimedOut)


def failure(step: Callable[[], object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        step()
    return str(caught.value)
