"""The modes of enable as values: which words fit together, and which device each comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.domain.setup import BRIDGE, Mode, ReaderSetup, Role, mode_of, reader_setup, setup_of
from virtcard.domain.smartcard import Smartcard
from virtcard.errors import InvalidArgument

SOCKET = "/run/virtcard/vm/3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03.sock"
CERTIFICATES = ("a", "b", "c")

SETUPS = st.one_of(
    st.just(BRIDGE),
    st.just(ReaderSetup(Mode.HOST)),
    st.just(ReaderSetup(Mode.SPICE)),
    st.builds(
        ReaderSetup,
        st.just(Mode.HOST_CERTIFICATES),
        certificates=st.tuples(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1)),
        database=st.text(),
    ),
    st.builds(
        ReaderSetup,
        st.just(Mode.TCP),
        address=st.sampled_from(["127.0.0.1", "::1", "vm.example.org"]),
        port=st.integers(1, 65_535),
        role=st.sampled_from(Role),
        tls=st.booleans(),
        insecure=st.just(True),
    ),
)


@given(SETUPS)
def test_a_device_tells_the_setup_that_it_came_from(setup: ReaderSetup) -> None:
    device = setup.device(SOCKET)
    assert mode_of(device) is setup.mode
    assert setup_of(device) == setup


def test_nothing_said_is_a_bridge() -> None:
    assert reader_setup() == BRIDGE


def test_tcp_is_loopback_and_qemu_listens_unless_said() -> None:
    setup = reader_setup("tcp", port=7001)
    assert setup.device("") == Smartcard("passthrough", "tcp", bind=True, host="127.0.0.1", service="7001")
    assert setup.listens


def test_connect_reconnects() -> None:
    assert reader_setup("tcp", port=7001, role="connect").device("").reconnect


@pytest.mark.parametrize(
    ("mode", "option"),
    [
        ("bridge", {"certificates": CERTIFICATES}),
        ("bridge", {"port": 1}),
        ("host", {"database": "/etc/pki/nssdb"}),
        ("host-certificates", {"tls": True}),
        ("tcp", {"certificates": CERTIFICATES}),
        ("tcp", {"database": "/x"}),
        ("bridge", {"insecure": True}),
        ("host", {"role": "bind"}),
        ("host", {"address": "::1"}),
        ("spice", {"port": 5900}),
    ],
)
def test_an_option_of_another_mode_is_refused(mode: str, option: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=f"mode {mode} has no option '{next(iter(option))}'"):
        reader_setup(mode, **option)  # type: ignore[arg-type]


def test_words_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="no mode"):
        reader_setup("vnc")
    with pytest.raises(InvalidArgument, match="no role"):
        reader_setup("tcp", port=7001, role="server")


@pytest.mark.parametrize(("address", "place"), [("127.0.0.1", "127.0.0.1:7001"), ("::1", "[::1]:7001")])
def test_a_place_is_written_as_endpoints_are(address: str, place: str) -> None:
    assert reader_setup("tcp", address=address, port=7001).place == place
