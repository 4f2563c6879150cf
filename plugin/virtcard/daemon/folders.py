"""The directory of the VSCard sockets: one by which readers are known as ours."""

from __future__ import annotations

import os
from uuid import UUID

from virtcard.domain.model import socket_owner
from virtcard.errors import Failed, InvalidArgument
from virtcard.limits import UNIX_PATH_MAX
from virtcard.names import socket_name
from virtcard.settings import Settings


def check_socket_dir(chosen: Settings) -> None:
    """InvalidArgument for a directory by whose sockets readers would not be known as ours, or too long for them."""
    socket = str(chosen.socket_dir / socket_name(UUID(int=0)))
    if socket_owner(socket) is None:
        raise InvalidArgument(
            f"'{chosen.socket_dir}' is no directory for VSCard sockets.",
            hint="Its name must be virtcard or virtcard/vm.",
        )
    if len(os.fsencode(socket)) > UNIX_PATH_MAX:
        raise InvalidArgument(
            f"'{chosen.socket_dir}' is too long: its sockets have {UNIX_PATH_MAX} bytes.", hint="Choose a shorter one."
        )


def make_socket_dir(chosen: Settings) -> None:
    """The session's own directory is ours to make; the system's is made by tmpfiles, with the right group."""
    if not chosen.session:
        return
    try:
        chosen.hotplug_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(
            f"Cannot make the socket directory {chosen.socket_dir}: {error.strerror}.",
            hint="Domains with a virtual reader do not start without it.",
        ) from error
