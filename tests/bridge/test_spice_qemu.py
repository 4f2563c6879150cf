"""The bridge against QEMU's own SPICE server; no guest runs, so only server and device speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers import nss
from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from helpers.pki import Authority
from helpers.spice import SpiceHost, Way, paused_qemu, viewer
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.spice.security import SpiceSecurity
from virtcard.bridge.spice.subject import Subject
from virtcard.card.soft.nss import NICKNAMES
from virtcard.errors import Disconnected
from virtcard.wire.spicelink import ChannelType

MakeBridge = Callable[..., Watched]
ALONE = frozenset({1, 8})


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="vc-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def host(directory: Path) -> Iterator[SpiceHost]:
    """A QEMU on TCP and TLS, for all tests: leave its reader empty."""
    made = SpiceHost.make(directory)
    with paused_qemu(made) as process:
        yield made
        assert process.poll() is None, "QEMU has ended"


@pytest.fixture
def start(make_bridge: MakeBridge) -> Callable[..., Watched]:
    def begin(host: SpiceHost, way: Way = "tcp", *, reconnect: bool = True, **settings: object) -> Watched:
        watched = make_bridge(host.endpoint(way), spice=host.settings(**settings), reconnect=reconnect, patience={})
        watched.bridge.insert(FakeCard())
        return watched

    return begin


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_card_goes_in_and_out_and_the_end_is_orderly(start: Callable[..., Watched], host: SpiceHost, way: Way) -> None:
    watched = start(host, way)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.eject()
    watched.wait(BridgeState.EMPTY)
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    assert [session.channels for session in host.sessions()] == [ALONE]
    watched.bridge.stop()
    assert watched.bridge.join(10)
    host.wait_sessions(lambda sessions: not sessions, "the end of the session")


def test_a_wrong_password_is_refused_and_told(start: Callable[..., Watched], host: SpiceHost) -> None:
    watched = start(host, password=b"another")
    told = watched.wait(BridgeState.CLOSED, error="does not accept the password")
    assert "wrong" in told.hint
    assert host.sessions() == ()


def test_a_server_of_another_authority_is_not_spoken_to(
    start: Callable[..., Watched], host: SpiceHost, tmp_path: Path
) -> None:
    other = tmp_path / "ca.pem"
    other.write_bytes(Authority("another").certificate_pem())
    watched = start(host, "tls", security=SpiceSecurity(other))
    watched.wait(BridgeState.CONNECTING, error="is of no authority that we trust")
    assert host.sessions() == ()


def test_the_subject_stands_for_the_host_name(start: Callable[..., Watched], host: SpiceHost) -> None:
    start(host, "tls", security=SpiceSecurity(host.ca_file, Subject.parse("CN=localhost"))).wait(BridgeState.INSERTED)


def test_another_subject_is_another_server(start: Callable[..., Watched], host: SpiceHost) -> None:
    watched = start(host, "tls", security=SpiceSecurity(host.ca_file, Subject.parse("O=Red Hat,CN=localhost")))
    watched.wait(BridgeState.CLOSED, error="is for another subject")
    assert host.sessions() == ()


def test_a_certificate_for_another_name_is_not_trusted(
    start: Callable[..., Watched], host: SpiceHost, tmp_path: Path
) -> None:
    watched = start(host, "tls", security=SpiceSecurity(host.ca_file, hostname="other.example"))
    watched.wait(BridgeState.CONNECTING, error="is for another host name")


def test_a_unix_socket(start: Callable[..., Watched], tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="vc-") as folder:
        host = SpiceHost.make(Path(folder))
        with paused_qemu(host, unix=True):
            start(host, "unix").wait(BridgeState.INSERTED)
            (session,) = host.sessions()
            assert session.channels == ALONE
            assert session.place == "this host"


def test_qemu_ends_and_comes_back(start: Callable[..., Watched]) -> None:
    with TemporaryDirectory(prefix="vc-") as folder:
        host = SpiceHost.make(Path(folder))
        with paused_qemu(host):
            watched = start(host)
            watched.wait(BridgeState.INSERTED)
        watched.wait(BridgeState.CONNECTING)
        watched.forget()
        with paused_qemu(host):
            watched.wait(BridgeState.INSERTED, timeout=30)
            assert watched.bridge.apdus == 0


def test_without_a_monitor_nobody_is_disconnected_unasked(start: Callable[..., Watched], host: SpiceHost) -> None:
    start(host, look=None).wait(BridgeState.CLOSED, error="cannot see whether a viewer is connected")
    start(host, look=None, take_over=True).wait(BridgeState.INSERTED)


def test_a_machine_without_a_spice_card_is_told(start: Callable[..., Watched]) -> None:
    with TemporaryDirectory(prefix="vc-") as folder:
        host = SpiceHost.make(Path(folder))
        plain = SpiceHost.arguments
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SpiceHost, "arguments", lambda self, *, unix=False: plain(self, unix=unix)[:6])
            with paused_qemu(host):
                start(host).wait(BridgeState.CLOSED, error="has no SPICE smart card")


def test_a_second_client_of_ours_finds_the_first_one_s_card(start: Callable[..., Watched], host: SpiceHost) -> None:
    start(host).wait(BridgeState.INSERTED)
    start(host).wait(BridgeState.CLOSED, error="shares its own smart cards")
    (session,) = host.sessions()
    assert session.channels == ALONE


@pytest.mark.parametrize("program", ["spicy", "remote-viewer"])
def test_a_real_viewer_stays_while_a_card_comes_and_goes(
    start: Callable[..., Watched], host: SpiceHost, program: str
) -> None:
    with viewer(host, program) as number:  # type: ignore[arg-type]
        watched = start(host)
        watched.wait(BridgeState.INSERTED)
        (session,) = host.sessions()
        assert session.connection_id == number
        assert session.channels > {ChannelType.MAIN, ChannelType.SMARTCARD}
        watched.bridge.stop()
        assert watched.bridge.join(10)
        host.wait_sessions(lambda sessions: sessions and not sessions[0].has_card, "the card's channel has gone")
        assert [session.connection_id for session in host.sessions()] == [number]


def test_a_real_viewer_that_leaves_and_comes_keeps_and_gets_its_session(
    start: Callable[..., Watched], host: SpiceHost
) -> None:
    with viewer(host, "spicy"):
        watched = start(host)
        watched.wait(BridgeState.INSERTED)
        watched.forget()
    watched.wait_error("The viewer's session has ended")
    watched.wait(BridgeState.INSERTED, timeout=20)
    assert [session.channels for session in host.sessions()] == [ALONE]
    watched.forget()
    with viewer(host, "spicy") as number:
        watched.wait(BridgeState.INSERTED, timeout=30)
        (session,) = host.sessions()
        assert session.connection_id == number
        assert session.has_card


def test_a_monitor_that_is_not_there_is_told(host: SpiceHost) -> None:
    with pytest.raises(Disconnected, match="There is no monitor"):
        SpiceHost(host.directory, "nobody", 0, 0).sessions()


def sharing() -> list[str]:
    """What makes a viewer share smart cards: a CAC of three certificates."""
    names = ",".join(NICKNAMES)
    database = f"sql:{nss.shared_database()}"
    return ["--spice-smartcard", f"--spice-smartcard-certificates={names}", f"--spice-smartcard-db={database}"]


def test_a_real_viewer_with_cards_of_its_own_is_left_alone_unless_told_otherwise(
    start: Callable[..., Watched], host: SpiceHost
) -> None:
    with viewer(host, "spicy", *sharing()) as number:
        host.wait_sessions(lambda sessions: sessions[0].has_card, "the viewer's card")
        told = start(host).wait(BridgeState.CLOSED, error="shares its own smart cards")
        assert "127.0.0.1" in told.last_error
        assert [session.connection_id for session in host.sessions()] == [number]
        start(host, take_over=True).wait(BridgeState.INSERTED)
        assert number not in [session.connection_id for session in host.sessions()]


def test_the_card_waits_for_the_end_of_a_real_viewer_that_brings_its_own(
    start: Callable[..., Watched], host: SpiceHost
) -> None:
    watched = start(host)
    watched.wait(BridgeState.INSERTED)
    with viewer(host, "spicy", *sharing()) as number:
        watched.wait_error("shares its own smart cards", timeout=30)
        assert [session.connection_id for session in host.sessions()] == [number]
    watched.forget()
    watched.wait(BridgeState.INSERTED, timeout=30)
