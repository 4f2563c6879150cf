"""libvirt URIs, read as libvirt's docs/uri.rst has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtcard.domain.uri import Instance, parse_uri, runtime_dir
from virtcard.errors import InvalidArgument, Unsupported

ENVIRON = {"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/alice"}


def test_system_instance_has_its_files_below_run() -> None:
    uri = parse_uri("qemu:///system", ENVIRON)
    assert uri.instance is Instance.SYSTEM
    assert uri.pid_dir == Path("/run/libvirt/qemu")
    assert uri.socket_dir == Path("/run/virtcard/vm")
    uri.require_local()


def test_session_instance_has_its_files_in_the_users_runtime_directory() -> None:
    uri = parse_uri("qemu:///session", ENVIRON)
    assert uri.instance is Instance.SESSION
    assert uri.pid_dir == Path("/run/user/1000/libvirt/qemu/run")
    assert uri.socket_dir == Path("/run/user/1000/virtcard")


def test_socket_of_a_private_session_shows_its_pid_directory() -> None:
    uri = parse_uri("qemu+unix:///session?socket=/tmp/x/libvirt/libvirt-sock", ENVIRON)
    assert uri.instance is Instance.SESSION
    assert uri.pid_dir == Path("/tmp/x/libvirt/qemu/run")
    uri.require_local()


def test_socket_of_a_private_system_daemon_shows_its_pid_directory() -> None:
    uri = parse_uri("qemu+unix:///system?mode=direct&socket=/srv/l/libvirt-sock", ENVIRON)
    assert uri.pid_dir == Path("/srv/l/qemu")


def test_embedded_instance_has_everything_below_its_root() -> None:
    uri = parse_uri("qemu:///embed?root=/tmp/e", ENVIRON)
    assert (uri.instance, uri.pid_dir, uri.socket_dir) == (
        Instance.EMBED,
        Path("/tmp/e/run/qemu"),
        Path("/tmp/e/virtcard"),
    )


@pytest.mark.parametrize("text", ["test:///default", "test:///tmp/node.xml", "test+unix:///default"])
def test_test_driver_has_no_pid_files(text: str) -> None:
    uri = parse_uri(text, ENVIRON)
    assert (uri.instance, uri.pid_dir, uri.socket_dir) == (Instance.TEST, None, Path("/run/user/1000/virtcard"))


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("qemu+ssh://bob@host.example/system", "host.example"),
        ("qemu+ssh:///system", "ssh"),
        ("qemu://host.example/system", "host.example"),
        ("qemu+tcp://[::1]:16509/session", "::1"),
        ("qemu+ext:///system?command=/bin/x", "ext"),
    ],
)
def test_bridging_to_another_machine_is_refused(text: str, remote: str) -> None:
    uri = parse_uri(text, ENVIRON)
    assert (uri.remote, uri.pid_dir) == (remote, None)
    with pytest.raises(Unsupported, match="another machine") as caught:
        uri.require_local()
    assert caught.value.hint == "Run virtcardd on that machine."


@pytest.mark.parametrize(
    "text",
    ["", "qemu", "qemu:///", "qemu:///test", "qemu:///other", "xen:///system", "work", "qemu://[::1/system", "qemu:///embed",
     "qemu:///embed?root=x"],
)  # fmt: skip
def test_other_texts_are_invalid_arguments(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_uri(text, ENVIRON)


def test_cache_directory_stands_in_for_a_missing_runtime_directory() -> None:
    assert runtime_dir({"HOME": "/home/alice"}) == Path("/home/alice/.cache")
    assert runtime_dir({"HOME": "/home/alice", "XDG_CACHE_HOME": "/c"}) == Path("/c")
