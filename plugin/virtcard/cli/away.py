"""What a list may lack, since virtcardd has not reached whoever knows it."""

from __future__ import annotations

from virtcard.cli.advice import about
from virtcard.cli.door import Door
from virtcard.cli.screen import warn
from virtcard.names import MANAGER, ROOT_PATH


def warn_of(part: str, client: Door) -> None:
    """On stderr, when "libvirt" or "pcscd" is away."""
    for problem in about(part, client.properties(ROOT_PATH, MANAGER)):
        warn(problem["message"], problem["hint"])
