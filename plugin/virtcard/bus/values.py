"""Plain Python values <-> D-Bus values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dbus_next.signature import SignatureTree, SignatureType, Variant

_SIGNATURES: Final[dict[type, str]] = {bool: "b", int: "x", str: "s", float: "d", bytes: "ay"}


def text(value: str) -> str:
    """`value` as the bus can carry it: a NUL or a lone surrogate makes the bus drop the sender."""
    if value.isascii() and "\0" not in value:
        return value  # nearly all of them: not copied, since thousands of them are kept
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def plain(value: Any) -> Any:
    """A received value without Variants, whatever the depth."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def wrap(signature: str, body: list[Any]) -> list[Any]:
    """`body` with a Variant in each place where `signature` has a `v`; ValueError when it does not fit."""
    types = SignatureTree._get(signature).types
    return [_wrap(kind, value) for kind, value in zip(types, body, strict=True)]


def _wrap(kind: SignatureType, value: Any) -> Any:
    if kind.signature == "v":
        return value if isinstance(value, Variant) else _variant(value)
    if kind.signature.startswith("a{"):
        return _wrap_dict(kind.children[0].children, value)
    if isinstance(value, str) and "\0" in value:
        raise ValueError("the bus drops who sends a NUL in a text")
    if kind.signature.startswith("a") and isinstance(value, list | tuple):
        return [_wrap(kind.children[0], item) for item in value]
    return value


def _variant(value: Any) -> Variant:
    signature = _signature_of(value)
    return Variant(signature, *wrap(signature, [value]))


def _wrap_dict(kinds: list[SignatureType], value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {_wrap(kinds[0], key): _wrap(kinds[1], item) for key, item in value.items()}


def _signature_of(value: Any) -> str:
    for kind, signature in _SIGNATURES.items():
        if isinstance(value, kind):
            return signature
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "as"
    raise ValueError(f"no D-Bus type for {type(value).__name__}")
