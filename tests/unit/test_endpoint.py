"""The text of endpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.bridge.endpoint import Endpoint, Scheme, parse_endpoint
from virtcard.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:///run/vm.sock", Endpoint(Scheme.UNIX, path="/run/vm.sock")),
        ("unix:///run/a b?c#d%20", Endpoint(Scheme.UNIX, path="/run/a b?c#d%20")),
        ("tcp://host.example:2001", Endpoint(Scheme.TCP, host="host.example", port=2001)),
        ("tcp://127.0.0.1:1", Endpoint(Scheme.TCP, host="127.0.0.1", port=1)),
        ("tcp://[::1]:65535", Endpoint(Scheme.TCP, host="::1", port=65535)),
        ("spice://127.0.0.1:5900", Endpoint(Scheme.SPICE, host="127.0.0.1", port=5900)),
        ("spice+tls://[::1]:5901", Endpoint(Scheme.SPICE_TLS, host="::1", port=5901)),
        ("spice+unix:///run/spice.sock", Endpoint(Scheme.SPICE_UNIX, path="/run/spice.sock")),
        ("tls://host.example:2001", Endpoint(Scheme.TLS, host="host.example", port=2001)),
    ],
)
def test_endpoint_is_read_and_written_back(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


def test_where_to_wait_is_written_like_where_to_go() -> None:
    waiting = parse_endpoint("tls://[::]:2001", listen=True)
    assert waiting == Endpoint(Scheme.TLS, host="::", port=2001, listen=True)
    assert str(waiting) == "tls://[::]:2001"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/vm.sock",
        "unix:/run/vm.sock",
        "unix://relative",
        "unix://",
        "unix:///a\0b",
        "UNIX:///run/vm.sock",
        "tls://host",
        "tcp-listen://host:1",
        "spice://host",
        "spice://host?tls-port=",
        "spice://host?tls-port=0",
        "spice://?tls-port=1",
        "tcp://host:1?tls-port=2",
        "spice+unix://relative",
        "spice+ssh://host:1",
        "tcp://",
        "tcp://host",
        "tcp://:2001",
        "tcp://host:",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:99999999999999999999",
        "tcp://host:-1",
        "tcp://host:٣",
        "tcp://host:1/",
        "tcp://::1:2001",
        "tcp://[]:2001",
        "tcp://[::1]2001",
        "tcp://ho st:1",
        "tcp://host:1:2",
    ],
)
def test_anything_else_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_endpoint(text)
    assert caught.value.message.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("spice://localhost?tls-port=5901", Endpoint(Scheme.SPICE_TLS, host="localhost", port=5901)),
        ("spice://localhost:5900?tls-port=5901", Endpoint(Scheme.SPICE_TLS, host="localhost", port=5901)),
        ("spice://[::1]:5900?tls-port=5901", Endpoint(Scheme.SPICE_TLS, host="::1", port=5901)),
    ],
)
def test_with_two_ports_virsh_domdisplay_means_the_one_with_tls(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["spice://host:1", "spice+tls://host:1", "spice+unix:///a"])
def test_a_spice_server_is_not_waited_for(text: str) -> None:
    with pytest.raises(InvalidArgument, match="does not call"):
        parse_endpoint(text, listen=True)


def test_path_of_107_bytes_fits_and_one_more_does_not() -> None:
    path = "/" + "x" * 106
    assert parse_endpoint(f"unix://{path}").path == path
    with pytest.raises(InvalidArgument, match="108 bytes"):
        parse_endpoint(f"unix://{path}x")


def test_path_is_measured_in_bytes() -> None:
    with pytest.raises(InvalidArgument, match="109 bytes"):
        parse_endpoint("unix:///" + "ü" * 54)


def test_unix_makes_an_endpoint_of_a_path() -> None:
    assert str(Endpoint.unix("/run/vm.sock")) == "unix:///run/vm.sock"
    assert Endpoint.unix("/run/vm.sock", listen=True).listen
    with pytest.raises(InvalidArgument):
        Endpoint.unix("vm.sock")


@given(st.text())
def test_any_text_is_an_endpoint_or_an_invalid_argument(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except InvalidArgument:
        return
    assert parse_endpoint(str(endpoint)) == endpoint


@given(st.sampled_from(["tcp://", "tls://", "unix://"]), st.text())
def test_any_rest_is_an_endpoint_or_an_invalid_argument(scheme: str, rest: str) -> None:
    test_any_text_is_an_endpoint_or_an_invalid_argument.hypothesis.inner_test(scheme + rest)  # type: ignore[attr-defined]
