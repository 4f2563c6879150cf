"""ATRs of real cards, from Ludovic Rousseau's list of smart cards (smartcard_list.txt), and the T=0 rewrite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smartcard.ATR import ATR

from helpers.ccid import check_atr
from virtcard.wire import atr
from virtcard.wire.atr import Atr, Interface, t0_atr
from virtcard.wire.malformed import Malformed

YUBIKEY_NEO = "3BFC1300008131FE15597562696B65794E454F7233E1"
YUBIKEY_4 = "3BF81300008131FE15597562696B657934D4"
YUBIKEY_5 = "3BFD1300008131FE158073C021C057597562694B657940"
OPENPGP_3 = "3BDA18FF81B1FE751F030031F573C001600090001C"
CONTACTLESS = "3B8180018080"
CAC_T0 = "3B7D96000080318065B0831111AC83009000"
LIBCACARD = "3B7A18000073667465206364313434"
REAL = [YUBIKEY_NEO, YUBIKEY_4, YUBIKEY_5, OPENPGP_3, CONTACTLESS, CAC_T0, LIBCACARD]

octet = st.integers(0, 255)


def groups(td: int | None) -> st.SearchStrategy[Interface]:
    return st.builds(Interface, *[st.none() | octet] * 3, st.just(td))


@st.composite
def atrs(draw: st.DrawFn) -> Atr:
    """A well-formed ATR of up to four groups, in 33 bytes."""
    interfaces = [draw(groups(None))]
    for protocol in draw(st.lists(st.sampled_from((0, 1, 14, 15)), max_size=3)):
        interfaces.insert(0, draw(groups(interfaces[0].present | protocol)))
    room = 33 - 3 - sum(len(group.encode()) for group in interfaces)
    convention = draw(st.sampled_from((atr.DIRECT, atr.INVERSE)))
    return Atr(tuple(interfaces), draw(st.binary(max_size=min(15, room))), convention)


@pytest.mark.parametrize("wire", REAL)
def test_real_atrs_are_parsed_and_built_again(wire: str) -> None:
    assert atr.parse(bytes.fromhex(wire)).encode() == bytes.fromhex(wire)


@pytest.mark.parametrize("wire", REAL)
def test_pyscard_reads_the_same(wire: str) -> None:
    parsed = atr.parse(bytes.fromhex(wire))
    judge = ATR(list(bytes.fromhex(wire)))
    assert list(parsed.historical) == judge.getHistoricalBytes()
    assert parsed.has_checksum == judge.hasChecksum
    assert [group.ta for group in parsed.interfaces] == judge.TA
    assert [group.tb for group in parsed.interfaces] == judge.TB
    assert [group.tc for group in parsed.interfaces] == judge.TC
    assert [group.td for group in parsed.interfaces] == judge.TD


def test_protocols_of_real_cards() -> None:
    assert atr.parse(bytes.fromhex(YUBIKEY_4)).protocols == (1, 1)
    assert atr.parse(bytes.fromhex(CAC_T0)).protocols == (0,)
    assert atr.parse(bytes.fromhex(CONTACTLESS)).protocols == (0, 1)


@given(atrs())
def test_atrs_survive_the_wire(parts: Atr) -> None:
    wire = parts.encode()
    assert atr.parse(wire) == parts
    assert list(parts.historical) == ATR(list(wire)).getHistoricalBytes()


@given(atrs())
def test_every_rewrite_is_one_that_qemu_takes_and_a_t0_guest_can_use(parts: Atr) -> None:
    rewritten = t0_atr(parts.encode())
    judge = ATR(list(rewritten))
    assert check_atr(rewritten)
    assert judge.isT0Supported()
    assert not judge.isT1Supported()
    assert not judge.hasChecksum
    assert judge.getHistoricalBytes() == list(parts.historical)
    assert judge.TC[1] == 1


@pytest.mark.parametrize("wire", REAL)
def test_the_rewrite_of_a_real_atr(wire: str) -> None:
    rewritten = t0_atr(bytes.fromhex(wire))
    historical = atr.parse(bytes.fromhex(wire)).historical
    assert rewritten == bytes((0x3B, 0x80 | len(historical), 0x40, 0x01)) + historical


def test_a_rewrite_is_rewritten_to_itself() -> None:
    once = t0_atr(bytes.fromhex(YUBIKEY_5))
    assert t0_atr(once) == once


def test_the_rewrite_forgives_a_wrong_checksum_and_bytes_behind_the_end() -> None:
    wrong = bytes.fromhex(YUBIKEY_4)[:-1] + b"\0"
    with pytest.raises(Malformed):
        atr.parse(wrong)
    assert t0_atr(wrong) == t0_atr(wrong + b"\0") == t0_atr(bytes.fromhex(YUBIKEY_4))


@pytest.mark.parametrize("wire", ["", "3B", "3300", "3B7A18", "3B01", "3B80", "3B8080", "3B" + "F0" * 40])
def test_broken_atrs_are_malformed(wire: str) -> None:
    with pytest.raises(Malformed):
        atr.parse(bytes.fromhex(wire))
    with pytest.raises(Malformed):
        t0_atr(bytes.fromhex(wire))


@given(st.binary(max_size=45))
def test_noise_is_malformed_or_built_again(noise: bytes) -> None:
    try:
        parsed = atr.parse(b"\x3b" + noise)
    except Malformed:
        return
    assert parsed.encode() == b"\x3b" + noise


@pytest.mark.parametrize(
    "parts",
    [
        Atr(convention=0x33),
        Atr(historical=bytes(16)),
        Atr((Interface(td=0x10),)),
        Atr((Interface(td=0x00), Interface(ta=1))),
        Atr(()),
        Atr((Interface(), Interface())),
    ],
)
def test_parts_that_do_not_fit_are_not_built(parts: Atr) -> None:
    with pytest.raises(Malformed):
        parts.encode()
