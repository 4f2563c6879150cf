"""The example of a third party's source: a card behind a vpicc connection, and clients that do not mean well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from queue import Queue

import pytest

from helpers.network import free_port
from helpers.scripted_card import ATR_T0, ATR_T1, OK, ScriptedCard, echo, give, pattern
from helpers.vpcd import Slot
from helpers.waiting import wait_until
from virtcard.card.base import CardEvent, Source, Surroundings, Transmission
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.errors import Busy, CardAbsent, CardError, InvalidArgument
from virtcard_vpicc import card as card_module
from virtcard_vpicc import slot, wire
from virtcard_vpicc.card import VpiccCard, first_protocol
from virtcard_vpicc.source import VpiccSource

ASK = echo(b"anything")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def source() -> Source:
    return VpiccSource(Surroundings(True, ReaderWatcher))


@pytest.fixture
def events() -> Queue[CardEvent]:
    return Queue()


@pytest.fixture
def card(port: int, events: Queue[CardEvent]) -> Iterator[VpiccCard]:
    """As a bridge has it: heard, and not powered on."""
    made = VpiccCard(port)
    made.listen(events.put)
    yield made
    made.listen(None)
    made.power_off()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_PATIENCE", 0.5)
    monkeypatch.setattr(wire, "ATR_PATIENCE", 0.5)
    monkeypatch.setattr(slot, "PAUSE", 0.01)
    monkeypatch.setattr(card_module, "CALL_PATIENCE", 0.3)


def heard(events: Queue[CardEvent], *expected: CardEvent) -> None:
    assert [events.get(timeout=5) for _ in expected] == list(expected)


# A card that behaves.


def test_it_is_a_source(source: Source, port: int) -> None:
    assert isinstance(source, Source)
    source.open(str(port)).power_off()


@pytest.mark.parametrize("rest", ["0", "65536", "-1", "http", "１２３", "99999999999999999999", " 80", "localhost:1"])
def test_what_is_no_port_is_refused(source: Source, rest: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a port"):
        source.open(rest)


def test_a_port_that_is_taken_is_told_at_once(source: Source, card: VpiccCard, port: int) -> None:
    with pytest.raises(Busy, match=f"port {port}: Address already in use"):
        source.open(str(port))


def test_it_listens_on_the_loopback_device_alone(card: VpiccCard) -> None:
    assert card._slot is not None
    assert card._slot._server.getsockname()[0] == "127.0.0.1"


def test_without_a_client_the_card_is_absent(card: VpiccCard) -> None:
    with pytest.raises(CardAbsent, match="Nobody calls"):
        card.power_on()
    with pytest.raises(CardAbsent):
        card.transmit(ASK)


def test_a_client_that_comes_while_the_card_is_powered_on_is_waited_for(
    card: VpiccCard, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_module, "CALL_PATIENCE", 10)
    atrs: list[bytes] = []
    caller = threading.Thread(target=lambda: atrs.append(card.power_on()))
    caller.start()
    with Slot(port) as client:
        client.plug(ScriptedCard())
        caller.join(10)
    assert atrs == [ATR_T0]


@pytest.mark.parametrize(("atr", "protocol"), [(ATR_T0, Transmission.T0), (ATR_T1, Transmission.T1)])
def test_a_client_is_a_card(
    card: VpiccCard, port: int, events: Queue[CardEvent], atr: bytes, protocol: Transmission
) -> None:
    scripted = ScriptedCard(atr)
    with Slot(port) as client:
        client.plug(scripted)
        heard(events, CardEvent.INSERTED)
        assert card.power_on() == atr
        assert card.transmission is protocol
        assert card.transmit(give(200)) == pattern(200) + OK
        before = scripted.resets
        assert card.reset() == atr
        assert scripted.resets == before + 1


def test_long_messages_go_whole(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    data = pattern(60_000)
    with Slot(port) as client:
        client.plug(ScriptedCard(ATR_T1))
        heard(events, CardEvent.INSERTED)
        card.power_on()
        assert card.transmit(echo(data)) == data + OK


@pytest.mark.parametrize("size", [0, 1, 3, 65_536, 65_544])
def test_a_command_that_the_protocol_cannot_carry_is_a_wrong_length(
    card: VpiccCard, port: int, events: Queue[CardEvent], size: int
) -> None:
    """One byte would be an order: a guest must not power the card off behind our back."""
    scripted = ScriptedCard()
    with Slot(port) as client:
        client.plug(scripted)
        heard(events, CardEvent.INSERTED)
        card.power_on()
        before = scripted.resets
        assert card.transmit(bytes(size)) == b"\x67\x00"
        assert (scripted.resets, scripted.commands) == (before, 0)


def test_a_client_that_goes_and_comes_back_is_told_of(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    with Slot(port) as client:
        for _ in range(3):
            client.plug(ScriptedCard())
            heard(events, CardEvent.INSERTED)
            assert card.power_on() == ATR_T0
            client.unplug()
            heard(events, CardEvent.REMOVED)
            with pytest.raises(CardAbsent):
                card.transmit(ASK)


def test_the_client_stays_while_the_machine_is_off(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    with Slot(port) as client:
        client.plug(ScriptedCard())
        heard(events, CardEvent.INSERTED)
        card.power_on()
        card.power_off()
        assert card.power_on() == ATR_T0
        assert events.empty()


def test_an_ejected_card_closes_its_port_and_can_come_back(port: int, events: Queue[CardEvent]) -> None:
    card = VpiccCard(port)
    for _ in range(2):
        card.listen(events.put)
        with Slot(port) as client:
            client.plug(ScriptedCard())
            heard(events, CardEvent.INSERTED)
            card.power_on()
            card.listen(None)
            card.power_off()
            client.hang_up()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        assert [thread.name for thread in threading.enumerate() if thread.name == f"vpicc-{port}"] == []


def test_a_port_that_was_taken_meanwhile_is_an_error_of_the_card(port: int, events: Queue[CardEvent]) -> None:
    card = VpiccCard(port)
    card.power_off()
    other = VpiccCard(port)
    with pytest.raises(CardError, match="Address already in use"):
        card.listen(events.put)
    other.power_off()
    card.listen(None)


def test_the_next_client_waits_until_the_one_before_has_gone(
    card: VpiccCard, port: int, events: Queue[CardEvent]
) -> None:
    with Slot(port) as first, Slot(port) as second:
        first.plug(ScriptedCard(ATR_T0))
        heard(events, CardEvent.INSERTED)
        second.plug(ScriptedCard(ATR_T1))
        assert card.power_on() == ATR_T0
        first.unplug()
        heard(events, CardEvent.REMOVED, CardEvent.INSERTED)
        assert card.power_on() == ATR_T1


@pytest.mark.parametrize(
    ("atr", "protocol"),
    [
        ("3B00", 0),
        ("3B80", 0),
        ("3B8001", 1),
        ("3B8080018021", 0),
        ("3BF81300008131FE15597562696B657934D4", 1),
        ("3BF0", 0),
        ("FFFF", 0),
    ],
)
def test_the_protocol_is_the_first_that_the_atr_offers(atr: str, protocol: int) -> None:
    assert first_protocol(bytes.fromhex(atr)) is Transmission(protocol)


# Clients that do not mean well. None is believed, none holds anybody up, and after each the next one is served.


@contextmanager
def hostile(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.settimeout(5)
        yield client


def serves_the_next(card: VpiccCard, port: int) -> None:
    with Slot(port) as client:
        client.plug(ScriptedCard())
        wait_until(lambda: powers_on(card), 5, "the next client is the card")


def powers_on(card: VpiccCard) -> bool:
    try:
        return card.power_on() == ATR_T0
    except CardError:
        return False


def read_orders(client: socket.socket) -> None:
    """ON, RESET and ATR."""
    received = b""
    while len(received) < 9:
        received += client.recv(9 - len(received))
    assert received == b"\0\1\1\0\1\2\0\1\4"


ATRS = {
    "an ATR of no bytes": b"\0\0",
    "an ATR of one byte": b"\0\1\x3b",
    "an ATR of 34 bytes": b"\0\x22" + b"\x3b" + bytes(33),
    "an ATR of 64 KiB": b"\xff\xff" + bytes(1000),
    "half a length": b"\0",
    "half an ATR": b"\0\x0a\x3b\x08",
}


@pytest.mark.parametrize("answer", ATRS)
def test_a_bad_atr_ends_the_connection(card: VpiccCard, port: int, events: Queue[CardEvent], answer: str) -> None:
    with hostile(port) as client:
        heard(events, CardEvent.INSERTED)
        failure: list[CardError] = []
        caller = threading.Thread(target=lambda: failure.append(failed(card.power_on)))
        caller.start()
        read_orders(client)
        client.sendall(ATRS[answer])
        caller.join(5)
        assert not caller.is_alive()
        assert "vpicc client" in failure[0].message
        heard(events, CardEvent.REMOVED)
        assert ended(client)
    serves_the_next(card, port)


ANSWERS = {
    "an answer of no bytes": b"\0\0",
    "an answer of one byte": b"\0\1\x90",
    "an answer cut off": b"\0\x0a\x90",
    "an end in place of an answer": b"",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_bad_answer_ends_the_connection(card: VpiccCard, port: int, events: Queue[CardEvent], answer: str) -> None:
    with answering(card, port, events) as client:
        failure: list[CardError] = []
        caller = threading.Thread(target=lambda: failure.append(failed(lambda: card.transmit(ASK))))
        caller.start()
        assert client.recv(1)
        client.sendall(ANSWERS[answer])
        if not ANSWERS[answer]:
            client.shutdown(socket.SHUT_WR)
        caller.join(5)
        assert not caller.is_alive()
        assert ASK.hex() not in failure[0].message
        heard(events, CardEvent.REMOVED)
    serves_the_next(card, port)


@contextmanager
def answering(card: VpiccCard, port: int, events: Queue[CardEvent]) -> Iterator[socket.socket]:
    """A client of ours, powered on."""
    with hostile(port) as client:
        heard(events, CardEvent.INSERTED)
        caller = threading.Thread(target=card.power_on)
        caller.start()
        read_orders(client)
        client.sendall(len(ATR_T0).to_bytes(2) + ATR_T0)
        caller.join(5)
        yield client


def failed(call: Callable[[], object]) -> CardError:
    with pytest.raises(CardError) as caught:
        call()
    return caught.value


def ended(client: socket.socket) -> bool:
    """The other end has hung up."""
    try:
        while client.recv(4096):
            continue
    except ConnectionResetError:
        return True
    return True


def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one(
    card: VpiccCard, port: int, events: Queue[CardEvent]
) -> None:
    with answering(card, port, events) as client:
        client.sendall(b"\0\2\x90\x00")
        assert card._slot is not None
        peer = card._slot.peer
        assert peer is not None
        wait_until(lambda: arrived(peer), 5, "the answer has come")
        assert "broke the protocol" in failed(lambda: card.transmit(ASK)).message
        heard(events, CardEvent.REMOVED)
    serves_the_next(card, port)


def arrived(peer: wire.Peer) -> bool:
    peer._socket.settimeout(5)
    return peer._socket.recv(4, socket.MSG_PEEK) != b""


def test_a_client_that_is_silent_is_given_up_in_time(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    with hostile(port):
        heard(events, CardEvent.INSERTED)
        assert "did not answer in time" in failed(card.power_on).message
        heard(events, CardEvent.REMOVED)
    serves_the_next(card, port)


def test_a_client_that_drips_is_given_up_in_time(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    """The deadline is for the whole answer, not for each piece of it."""
    with answering(card, port, events) as client:
        enough = threading.Event()

        def drip() -> None:
            while not enough.wait(0.05):
                try:
                    client.send(b"\x10")
                except OSError:
                    return

        caller = threading.Thread(target=drip)
        failure: list[CardError] = []
        asker = threading.Thread(target=lambda: failure.append(failed(lambda: card.transmit(ASK))))
        asker.start()
        assert client.recv(1)
        caller.start()
        asker.join(5)
        assert not asker.is_alive()
        enough.set()
        caller.join(5)
        assert "did not answer in time" in failure[0].message
    serves_the_next(card, port)


def test_a_client_that_does_not_read_is_given_up_in_time(card: VpiccCard, port: int, events: Queue[CardEvent]) -> None:
    with answering(card, port, events):
        assert "did not answer in time" in failed(lambda: card.transmit(bytes(65_535))).message
    serves_the_next(card, port)


def test_an_eject_under_a_command_that_hangs_is_not_held_up(port: int, events: Queue[CardEvent]) -> None:
    card = VpiccCard(port)
    card.listen(events.put)
    with answering(card, port, events) as client:
        asker = threading.Thread(target=lambda: failed(lambda: card.transmit(ASK)))
        asker.start()
        assert client.recv(1)
        assert card._slot is not None
        card._slot.close()
        asker.join(5)
        assert not asker.is_alive()


def test_a_client_that_comes_and_goes_in_a_loop_is_taken_in_now_and_then(
    card: VpiccCard, port: int, events: Queue[CardEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "PAUSE", 60)
    for _ in range(3):
        with hostile(port):
            pass
    heard(events, CardEvent.INSERTED, CardEvent.REMOVED)
    assert events.empty()
