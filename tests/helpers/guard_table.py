"""What the profiles shall let through, written down a second time: by application, with real commands.

`read`, `use` and `full` are the least profiles that let a command through. The sources are the standards' own tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READ, USE, FULL = "read", "use", "full"
LEVELS: Final = (READ, USE, FULL)


@dataclass(frozen=True, slots=True)
class Row:
    """A command, sent with this application selected ("" for none), and the least profile that lets it through."""

    name: str
    command: bytes
    level: str

    def allowed(self, profile: str) -> bool:
        """This profile lets it through."""
        return LEVELS.index(profile) >= LEVELS.index(self.level)

    def __str__(self) -> str:
        return f"{self.name or 'nothing'} {self.command[:8].hex()}"


PIV = "A000000308000010000100"
CAC = "A0000000790100"
CCC = "A000000116DB00"
OPENPGP = "D2760001240103040006123456780000"
CARD_MANAGER = "A000000151000000"
OLD_CARD_MANAGER = "A0000000030000"
GEMALTO_MANAGER = "A000000018434D00"
MANAGEMENT = "A000000527471117"
OTP = "A0000005272001"
OATH = "A0000005272101"
HSMAUTH = "A000000527210701"
YUBICO_U2F = "A0000005271002"
FOREIGN = "A00000016742525354"  # some eID
UNKNOWN = "?"
"""After a SELECT with a part of a name: it may be any application."""

_EVERYWHERE = f"""
00A40400 0B {PIV}              read
00A4040C 06 D27600012401       read
00C00000 20                    read
80C00000 20                    read
00840000 08                    read
00700000 01                    read
00708001                       read
FFCA0000 00                    read
FFCA0100 00                    read
FF82000006FFFFFFFFFFFF         full
FFC20106 05 0102030405         full
FFD60004 04 01020304           full
20B00000 00                    full
B0200080 04 31323334           full
C0CA9F7F 00                    full
"""
"""ISO 7816-4 5.4.1, 11.2.2; PC/SC part 3, 3.2.2. FF82 loads a key into a reader, FFC2 uses its PIN pad."""

_PIV = """
00CB3FFF 05 5C035FC102         read
00CB3FFF 03 5C017E             read
10CB3FFF 05 5C035FC102         read
0CCB3FFF 05 5C035FC102         read
00200080                       read
00200080 08 313233343536FFFF   use
00200000 08 313233343536FFFF   use
00200000                       use
00200096 03 010203             use
00200098 08 3132333435363738   use
00208080 08 313233343536FFFF   full
0020FF80                       use
0087079A 06 7C0482008100       use
0087079C 06 7C0482008100       use
1087079D 06 7C0482008100       use
0087119E 06 7C0482008500       use
00870782 06 7C0482008100       use
00870783 06 7C0482008100       use
00870784 06 7C0482008100       use
00870785 06 7C0482008100       use
00870786 06 7C0482008100       use
00870787 06 7C0482008100       use
00870788 06 7C0482008100       use
00870789 06 7C0482008100       use
0087078A 06 7C0482008100       use
0087078B 06 7C0482008100       use
0087078C 06 7C0482008100       use
0087078D 06 7C0482008100       use
0087078E 06 7C0482008100       use
0087078F 06 7C0482008100       use
00870790 06 7C0482008100       use
00870791 06 7C0482008100       use
00870792 06 7C0482008100       use
00870793 06 7C0482008100       use
00870794 06 7C0482008100       use
00870795 06 7C0482008100       use
00872704 06 7C0482008100       use
00870781 06 7C0482008100       full
00870796 06 7C0482008100       full
0087079B 04 7C028100           full
0087009B 04 7C028100           use
0087009B 04 7C028000           full
1087009B 04 7C028100           full
0087009B 0C 7C0A82080102030405060708 full
00870A9B 04 7C028000           full
008707F9 06 7C0482008100       full
00F70080                       read
00F70080 00                    read
00F80000 00                    read
00F99A00 00                    use
00FD0000 00                    read
00240080 10 313233343536FFFF313233343536FFFF full
00240081 10 31323334353637383132333435363738 full
002C0080 10 3132333435363738313233343536FFFF full
0047009A 05 AC03800111         full
00DB3FFF 09 5C035FC1025302AABB full
10DB3FFF 09 5C035FC1025302AABB full
0CDB3FFF 09 5C035FC1025302AABB full
00DA3FFF 09 5C035FC1025302AABB full
00F69A9C                       full
00FA0303                       full
00FB0000                       full
00FE079A 03 010100             full
00FFFFFF 03 030103             full
00A40000 02 3F00               full
00A40200 02 3F00               full
00CA005A 00                    full
80CB3FFF 05 5C035FC102         full
00E20000 01 00                 full
00C20000 05 00A4040000         full
"""
"""SP 800-73-4 part 2, table 2; part 1, table 4b for the keys. Yubico's instructions from F6 on (yubikit, piv.py)."""

_CAC = """
00A40200 02 3000               read
00A4020C 02 3000               read
80520000 02 0102               read
80560100 00                    read
804C1000 00                    read
80360000 00                    read
00520000 02 0102               read
00560100 00                    read
004C1000 00                    read
00360000 00                    read
00CA9F7F 00                    read
80CA9F7F 00                    read
00200000                       read
00200000 08 31323334FFFFFFFF   use
00208000 08 31323334FFFFFFFF   full
80428000 04 00010203           use
80420000 04 00010203           use
84420000 04 00010203           use
00428000 04 00010203           use
80580000 02 0102               full
00240000 10 31323334FFFFFFFF31323334FFFFFFFF full
002C0000 10 31323334FFFFFFFF31323334FFFFFFFF full
00580000 02 0102               full
00A40000 02 3F00               full
00820000 08 0102030405060708   full
80E60000 01 00                 full
00DA0000 01 00                 full
"""
"""GSC-IS 2.1, chapter 5.3; in class 00 as OpenSC sends them (card-cac.c)."""

_OPENPGP = """
00CA00C4 00                    read
00CA5F50 00                    read
00CC7F21 00                    read
00A50104 06 60045C027F21       read
00478100 02 B600               read
00F10000 00                    read
00200083                       read
00200081                       read
00200081 06 313233343536       use
00200082 06 313233343536       use
00200083 08 3132333435363738   full
0020FF81                       use
0020FF82                       use
002A9E9A 04 00010203           use
102A8086 04 00010203           use
002A8086 04 00010203           use
002A8680 04 00010203           use
002A8000 04 00010203           full
00880000 04 00010203           use
002241A4 03 830102             use
002241B8 03 830103             use
002241B6 03 830103             full
00478000 02 B600               full
00240081 0C 313233343536313233343536 full
002C0281 06 313233343536       full
002C0081 0C 313233343536313233343536 full
00DA005E 02 4142               full
00DB3FFF 02 4D00               full
00E60000                       full
00440000                       full
00F20000 03 030303             full
00FB0100                       full
00A40000 02 3F00               full
"""
"""OpenPGP card 3.4, 7.1; Yubico's instructions from F1 on (yubikit, openpgp.py)."""

_CARD_MANAGER = """
00CA0066 00                    read
80CA9F7F 00                    read
00CB0000 02 5C00               read
80CB0000 02 5C00               read
80500000 08 0102030405060708   full
84820000 10 01020304050607080102030405060708 full
80E60200 05 0102030405         full
80E80000 01 00                 full
80E40000 03 4F0100             full
80E20000 01 00                 full
80D80001 01 00                 full
80F08001                       full
80F24000 02 4F00               full
00200080 04 31323334           full
00A40000 02 3F00               full
"""
"""GlobalPlatform 2.3, table 11-1."""

_MANAGEMENT = """
001D0000 00                    read
001C0000 01 00                 full
00161100 01 00                 full
001F0000                       full
00010000 01 00                 full
"""
_OTP = """
00030000 00                    read
00011000 00                    read
00011300 00                    read
00012000 06 010203040506       use
00012800 06 010203040506       use
00013000 04 01020304           use
00013800 04 01020304           use
00010100 02 0102               full
00010300 02 0102               full
00010400 02 0102               full
00010600                       full
00010800 02 0102               full
00011100 02 0102               full
00011200 02 0102               full
00011500 02 0102               full
"""
"""yubikit, yubiotp.py: CONFIG_SLOT."""
_OATH = """
00A10000 00                    read
00A50000 00                    read
00A20001 02 7100               use
00A40001 02 7400               use
00A30000 02 7500               use
00010000 02 7100               full
00020000 02 7100               full
00030000 02 7300               full
0004DEAD                       full
00050000 02 7100               full
"""
"""yubikit, oath.py."""
_HSMAUTH = """
00050000 00                    read
00070000 00                    read
00090000 00                    read
00030000 02 7100               use
00040000 02 7100               use
000A0000 02 7100               use
00010000 02 7100               full
00020000 02 7100               full
0006DEAD                       full
00080000 02 7B00               full
000B0000 02 7B00               full
"""
"""yubikit, hsmauth.py."""
_YUBICO_OTHER = """
00010300 02 0102               full
00CA0000 00                    full
00200000 04 31323334           full
"""

_OTHER = """
00A40000 02 3F00               read
00A4080C 04 3F005015           read
00B00000 00                    read
0CB00000 0D 97010E8E080102030405060708 read
00B10000 04 54020000           read
00B20104 00                    read
00B30104 04 54020000           read
00CA0101 00                    read
00CB00FF 03 5C017E             read
00CC0000 00                    read
80CA9F7F 00                    read
80CB0000 03 5C017E             read
80F20000 00                    read
A0A40000 02 3F00               read
A0B00000 10                    read
A0B20104 10                    read
A0A20000 02 4142               read
A0C00000 10                    read
A0F20000 16                    read
00A00000 02 4142               use
00A10000 02 7F00               use
00A20104 02 4142               use
00200081 04 31323334           use
00200081                       use
00210081 06 7F2E03800131       use
0C200081 0D 97010E8E080102030405060708 use
002241B6 03 840101             use
0022C1A4 03 800101             use
0022F303                       use
0022F203                       full
0022F403                       full
002A9E9A 04 00010203           use
002A8086 04 00010203           use
002A00BE 02 7F4E               use
00820001 08 0102030405060708   use
00860000 02 7C00               use
1086 0000 02 7C00              use
00870000 02 7C00               use
00880000 04 00010203           use
00890081 04 00010203           use
A0200001 08 31323334FFFFFFFF   use
A0880000 10 00010203040506070001020304050607 use
00240081 08 3132333431323334   full
00260081 04 31323334           full
00280081 04 31323334           full
002C0081 08 3132333431323334   full
00040000 02 2F00               full
00440000 02 2F00               full
00460000 02 AC00               full
00470000 02 AC00               full
00C20000 05 00A4040000         full
00C30000 05 00A4040000         full
00D00000 01 00                 full
00D20104 01 00                 full
00D60000 01 00                 full
00D70000 01 00                 full
00DA0100 01 00                 full
00DB00FF 02 5C00               full
00DC0104 01 00                 full
00DD0104 01 00                 full
000E0000                       full
000F0000                       full
00E00000 02 6200               full
00E20000 01 00                 full
00E40000 02 2F00               full
00E60000                       full
00E80000                       full
00FE0000                       full
A0240001 10 31323334FFFFFFFF31323334FFFFFFFF full
A02C0000 10 31323334FFFFFFFF31323334FFFFFFFF full
A0260001 08 31323334FFFFFFFF   full
A0D60000 01 00                 full
A0DC0104 01 00                 full
A0320000 03 000001             full
80100000 01 04                 full
80500000 08 0102030405060708   full
80E60000 01 00                 full
80D80001 01 00                 full
80C20000 01 00                 full
80E80000 01 00                 full
00010000 01 00                 full
"""
"""ISO 7816-4, table 4.2; ISO 7816-8 and -9; GSM 11.11, 9.2; ETSI TS 102 221, 10.1.2."""

_UNKNOWN = """
00A40000 02 3F00               full
00B00000 00                    full
00CA0101 00                    full
00200080 08 313233343536FFFF   full
0087079A 06 7C0482008100       full
00A20001 02 7100               full
"""


def _rows(name: str, text: str) -> list[Row]:
    found = []
    for line in (text + _EVERYWHERE).split("\n"):
        *command, level = line.split() or [""]
        if command:
            found.append(Row(name, bytes.fromhex("".join(command)), level))
    return found


ROWS: Final = [
    row
    for name, text in (
        (PIV, _PIV),
        (CAC, _CAC),
        (CCC, _CAC),
        (OPENPGP, _OPENPGP),
        (CARD_MANAGER, _CARD_MANAGER),
        (OLD_CARD_MANAGER, _CARD_MANAGER),
        (GEMALTO_MANAGER, _CARD_MANAGER),
        (MANAGEMENT, _MANAGEMENT),
        (OTP, _OTP),
        (OATH, _OATH),
        (HSMAUTH, _HSMAUTH),
        (YUBICO_U2F, _YUBICO_OTHER),
        (FOREIGN, _OTHER),
        ("", _OTHER),
        (UNKNOWN, _UNKNOWN),
    )
    for row in _rows(name, text)
]
