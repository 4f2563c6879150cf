"""What is said of a wrong or blocked PIN or PUK."""

from __future__ import annotations

from virtcard.errors import Failed


def wrong(what: str, tries_left: int, hint: str) -> Failed:
    """To be raised after a wrong one; `hint` is for a blocked one."""
    if tries_left == 0:
        return Failed(f"The {what} was wrong, and is blocked now.", hint=hint)
    tries = "1 try is" if tries_left == 1 else f"{tries_left} tries are"
    return Failed(f"The {what} is wrong; {tries} left.", hint="Try again with another one.")


def check_open(what: str, tries_left: int, hint: str) -> None:
    """Failed for a blocked one, told before it is asked for."""
    if tries_left == 0:
        raise Failed(f"The {what} is blocked.", hint=hint)


def unblock_hint(name: str) -> str:
    """For a blocked PIN."""
    return f"'virtcard card unblock {name}' sets a new one by the PUK."


def lost_hint(name: str) -> str:
    """For a blocked PUK."""
    return f"Nobody can unblock it: virtcard card delete {name}, and make a new card."
