"""Software cards: what a PIN, a signature, a decipherment and a new key cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.piv import PivCard, new_card  # noqa: E402 (a benchmark runs by itself, too)
from helpers.soft_cards import PIN_DIGITS, wanted  # noqa: E402
from virtcard.card.soft import keys, make, seals  # noqa: E402
from virtcard.card.soft.ca import Authority, Holder, parse_subject  # noqa: E402
from virtcard.card.soft.model import Algorithm, CardType  # noqa: E402
from virtcard.card.soft.pins import Pins  # noqa: E402
from virtcard.card.soft.source import SoftSource  # noqa: E402
from virtcard.card.soft.store import Store  # noqa: E402
from virtcard.wire.apdu import CommandApdu  # noqa: E402
from virtcard.wire.tlv import build  # noqa: E402

ROUNDS = 100
SLOW_ROUNDS = 10
"""Of what takes more than some ten milliseconds."""
SHA256_INFO = bytes.fromhex("3031300D060960864801650304020105000420")
SELECT = CommandApdu(0, 0xA4, 4, 0, bytes.fromhex("A000000308000010000100"), 256).encode()


def run() -> dict[str, float]:
    """Medians in milliseconds."""
    figures: dict[str, float] = {}
    for algorithm in Algorithm:
        figures |= _rsa(algorithm) if algorithm.is_rsa else _curve(algorithm)
    with TemporaryDirectory(prefix="vc-") as directory:
        figures |= _card(Store(Path(directory) / "cards"))
        figures |= _piv(Path(directory) / "piv")
    return figures


def _rsa(algorithm: Algorithm) -> dict[str, float]:
    key = cast(RSAPrivateKey, keys.generate(algorithm))
    size = key.key_size // 8
    signed = b"\0\1" + b"\xff" * (size - 54) + b"\0" + SHA256_INFO + bytes(32)
    enciphered = b"\0\2" + b"x" * (size - 2)
    return {
        f"{algorithm}_sign_ms": _median(lambda: keys.rsa(key, signed)),
        f"{algorithm}_raw_ms": _median(lambda: keys.rsa(key, enciphered), SLOW_ROUNDS),
    }


def _curve(algorithm: Algorithm) -> dict[str, float]:
    key = cast(EllipticCurvePrivateKey, keys.generate(algorithm))
    return {f"{algorithm}_sign_ms": _median(lambda: keys.sign_ec(key, bytes(32)))}


def _card(store: Store) -> dict[str, float]:
    order = make.Wanted(name="card", type=CardType.PIV, pin=PIN_DIGITS, puk=b"12345678", cost=seals.COST)
    authority = Authority.new(parse_subject("CN=CA"))
    holder = Holder(parse_subject("CN=John Doe"))
    begin = time.perf_counter()
    make.create(store, order, holder, authority, algorithm=Algorithm.RSA2048)
    figures = {"make_piv_rsa2048_ms": (time.perf_counter() - begin) * 1e3}
    make.create_from(store, wanted("cheap"), {})
    with store.open("card") as card, store.open("cheap") as cheap:
        figures["verify_ms"] = _median(lambda: Pins(card).verify_pin(PIN_DIGITS), SLOW_ROUNDS)
        figures["verify_without_scrypt_ms"] = _median(lambda: Pins(cheap).verify_pin(PIN_DIGITS))
    figures["open_ms"] = _median(lambda: store.open("card").close())
    soft = SoftSource(store).open("card")
    soft.power_on()
    figures["select_ms"] = _median(lambda: soft.transmit(SELECT))
    soft.power_off()
    return figures


def _piv(directory: Path) -> dict[str, float]:
    """GENERAL AUTHENTICATE as QEMU's reader carries it: in a chain, and with GET RESPONSE."""
    card = new_card(directory, algorithms=[(0x9A, Algorithm.RSA2048), (0x9D, Algorithm.P256)])
    assert card.verify() == 0x9000
    signed = b"\0\1" + b"\xff" * 202 + b"\0" + SHA256_INFO + bytes(32)
    return {
        "piv_rsa2048_signature_ms": _median(lambda: _authenticate(card, 0x9A, 0x07, signed)),
        "piv_rsa2048_raw_ms": _median(lambda: _authenticate(card, 0x9A, 0x07, b"\0\2" + b"x" * 254), SLOW_ROUNDS),
        "piv_p256_signature_ms": _median(lambda: _authenticate(card, 0x9D, 0x11, bytes(32))),
    }


def _authenticate(card: PivCard, slot: int, algorithm: int, number: bytes) -> None:
    template = build(0x7C, build(0x82) + build(0x81, number))
    parts = [template[at : at + 255] for at in range(0, len(template), 255)]
    for part in parts[:-1]:
        card.card.transmit(CommandApdu(0x10, 0x87, algorithm, slot, part).encode())
    answer = card.card.transmit(CommandApdu(0, 0x87, algorithm, slot, parts[-1], 256).encode())
    while answer[-2] == 0x61:
        answer = card.card.transmit(CommandApdu(0, 0xC0, 0, 0, b"", answer[-1] or 256).encode())
    assert answer[-2:] == b"\x90\0"


def _median(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    call()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return median(times) * 1e3


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in run().items()}, indent=2) + "\n")
