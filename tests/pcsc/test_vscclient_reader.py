"""vscclient with a card in a host reader: a real pcscd, and a stand-in for QEMU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.pcsc_lab import Lab
from helpers.pcscd import Pcscd
from helpers.qemu_peer import QemuPeer
from helpers.scripted_card import ScriptedCard, give, pattern
from virtcard.cli.local.vscclient import main


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["-e", "passthru"], ""),
        (["-e", "use_hw=yes hw_type=PASSTHRU"], ""),
        (["-p"], ""),
        (["-e", "nssemul"], "not as a CAC"),
        ([], "not as a CAC"),
    ],
)
def test_the_card_in_the_first_host_reader_is_given_as_it_is(lab: Lab, options: list[str], warned: str) -> None:
    lab.plug(ScriptedCard(), 1)
    peer = QemuPeer(("127.0.0.1", 0))
    words = [sys.executable, "-m", "virtcard.cli.local.vscclient", *options, "127.0.0.1", str(peer.port)]
    pipe = subprocess.PIPE
    client = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=lab.pcscd.environment)
    try:
        peer.wait_card()
        assert peer.exchange(give(20)) == pattern(20) + b"\x90\0"
        said, errors = client.communicate("list\nexit\n", timeout=20)
        assert client.returncode == 0
        assert "Virtual PCD 00 01" in said
        assert warned in errors
    finally:
        client.kill()
        client.wait()
        peer.close()


def test_without_pcscd_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with Pcscd() as pcscd:
        pcscd.stop()
        assert main(["-e", "passthru", "127.0.0.1", "1"]) == 1
    assert "pcscd" in capsys.readouterr().err
