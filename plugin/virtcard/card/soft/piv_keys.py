"""Private keys of the PIV applet: GENERAL AUTHENTICATE with them, GENERATE ASYMMETRIC KEY PAIR, import.

Every key may sign, decipher and agree, whatever its slot is for: programs make certificate requests for the key
management key, and other cards let them.
"""

from __future__ import annotations

from typing import Final, cast

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from virtcard.card.soft import keys
from virtcard.card.soft.model import Algorithm, KeyRecord, Origin, PinPolicy
from virtcard.card.soft.piv_session import ALGORITHMS, KEY_SLOTS, NUMBERS, Session, default_policy, refuse
from virtcard.card.soft.piv_template import Field, Fields, answer, named
from virtcard.card.soft.sealing import seal_key
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv, build, parse

PUBLIC_KEY: Final = 0x7F49
_ALGORITHM: Final = 0x80
PIN_POLICY: Final = 0xAA
TOUCH_POLICY: Final = 0xAB
_SCALAR: Final = 0x06
_CRT: Final = frozenset({0x01, 0x02, 0x03, 0x04, 0x05})

PIN_POLICIES: Final = {1: PinPolicy.NEVER, 2: PinPolicy.ONCE, 3: PinPolicy.ALWAYS}
"""Yubico's numbers; 0 is what the slot wants by itself."""
NO_TOUCH: Final = frozenset({b"\x00", b"\x01"})
"""Touch policies that can be kept without a button: the default, and never."""

_RSA_BITS: Final = {Algorithm.RSA2048: 2048, Algorithm.RSA3072: 3072, Algorithm.RSA4096: 4096}
_CURVES: Final[dict[Algorithm, ec.EllipticCurve]] = {Algorithm.P256: ec.SECP256R1(), Algorithm.P384: ec.SECP384R1()}


def use(session: Session, command: CommandApdu, fields: Fields) -> ResponseApdu:
    """GENERAL AUTHENTICATE with a private key: the number in 81 signed or deciphered, or the point in 85 agreed on."""
    if command.p1 not in ALGORITHMS or command.p2 not in KEY_SLOTS:
        return refuse(Sw.INCORRECT_P1_P2)
    record = session.card.data.key(command.p2)
    if record is None:
        return refuse(Sw.REFERENCE_NOT_FOUND)
    if record.algorithm is not ALGORITHMS[command.p1]:
        return refuse(Sw.INCORRECT_P1_P2)
    return _used(session, record, fields) if session.may_use(record) else refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)


def _used(session: Session, record: KeyRecord, fields: Fields) -> ResponseApdu:
    match fields:
        case {Field.RESPONSE: b"", Field.CHALLENGE: number} if len(fields) == 2:
            return _signed(session, record, number)
        case {Field.RESPONSE: b"", Field.EXPONENTIATION: point} if len(fields) == 2 and not record.algorithm.is_rsa:
            key = cast(ec.EllipticCurvePrivateKey, session.pins.unsealed(record))
            return answer(Field.RESPONSE, keys.ecdh(key, point))
        case _:
            return refuse(Sw.INCORRECT_DATA)


def _signed(session: Session, record: KeyRecord, number: bytes) -> ResponseApdu:
    key = session.pins.unsealed(record)
    if isinstance(key, rsa.RSAPrivateKey):
        return answer(Field.RESPONSE, keys.rsa(key, number))
    if not number or len(number) > _size(key.curve):
        return refuse(Sw.INCORRECT_DATA)
    return answer(Field.RESPONSE, keys.sign_ec(key, number))


def generate(session: Session, command: CommandApdu) -> ResponseApdu:
    """GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.1): the public half of a new key."""
    if command.p1 or command.p2 not in KEY_SLOTS:
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    fields = _control(command.data)
    algorithm = ALGORITHMS.get(int.from_bytes(fields.get(_ALGORITHM, b""), "big"))
    policy = wanted_policy(fields, command.p2)
    if algorithm is None or policy is None:
        return refuse(Sw.INCORRECT_DATA)
    record = _keep(session, command.p2, keys.generate(algorithm), policy, Origin.GENERATED)
    return ResponseApdu(build(PUBLIC_KEY, public_fields(record)))


def import_key(session: Session, command: CommandApdu) -> ResponseApdu:
    """Yubico's IMPORT ASYMMETRIC KEY: P1 the algorithm, P2 the slot; 01 to 05 the numbers of RSA, 06 a scalar."""
    algorithm = ALGORITHMS.get(command.p1)
    if algorithm is None or command.p2 not in KEY_SLOTS:
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    fields = named(parse(command.data))
    policy = wanted_policy(fields, command.p2)
    key = _rsa_key(fields, _RSA_BITS[algorithm]) if algorithm.is_rsa else _ec_key(fields, _CURVES[algorithm])
    if policy is None or key is None or keys.algorithm_of(key) is not algorithm:
        return refuse(Sw.INCORRECT_DATA)
    _keep(session, command.p2, key, policy, Origin.IMPORTED)
    return ResponseApdu()


def wanted_policy(fields: Fields, slot: int) -> PinPolicy | None:
    """The PIN policy that a template asks for; None when it asks for one that there is not, or for a touch."""
    number = int.from_bytes(fields.get(PIN_POLICY, b"\0"), "big")
    if fields.get(TOUCH_POLICY, b"\0") not in NO_TOUCH:
        return None
    return PIN_POLICIES.get(number) if number else default_policy(slot)


def public_fields(record: KeyRecord) -> bytes:
    """The public half as GENERATE ASYMMETRIC KEY PAIR gives it (SP 800-73-4 part 2, table 11)."""
    key = load_der_public_key(record.public)
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return build(0x81, _unsigned(numbers.n)) + build(0x82, _unsigned(numbers.e))
    point = cast(ec.EllipticCurvePublicKey, key).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return build(0x86, point)


def algorithm_number(record: KeyRecord) -> int:
    """The algorithm identifier of a key."""
    return NUMBERS[record.algorithm]


def _keep(session: Session, slot: int, key: keys.PrivateKey, policy: PinPolicy, origin: Origin) -> KeyRecord:
    data = session.card.data
    record = seal_key(data, session.card.context, slot, key, pin_policy=policy, origin=origin)
    session.card.save(data.with_key(record))
    return record


def _control(untrusted: bytes) -> Fields:
    match parse(untrusted):
        case (Tlv(tag=0xAC) as template,):
            return named(template.children())
        case _:
            raise Malformed("GENERATE ASYMMETRIC KEY PAIR takes one control reference template")


def _rsa_key(fields: Fields, bits: int) -> rsa.RSAPrivateKey | None:
    """The key of these primes, when the numbers beside them belong to it, too. Checking longer ones takes minutes."""
    if not set(fields) >= _CRT:
        return None
    p, q, dmp1, dmq1, iqmp = (int.from_bytes(fields[tag], "big") for tag in sorted(_CRT))
    if not p.bit_length() == q.bit_length() == bits // 2:
        return None
    e = keys.PUBLIC_EXPONENT
    try:
        d = pow(e, -1, (p - 1) * (q - 1))
        numbers = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, p * q))
        return numbers.private_key()
    except ValueError:
        return None


def _ec_key(fields: Fields, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey | None:
    scalar = fields.get(_SCALAR, b"")
    if len(scalar) != _size(curve):
        return None
    try:
        return ec.derive_private_key(int.from_bytes(scalar, "big"), curve)
    except ValueError:
        return None


def _size(curve: ec.EllipticCurve) -> int:
    """Bytes of a coordinate, a scalar or a digest."""
    return (curve.key_size + 7) // 8


def _unsigned(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
