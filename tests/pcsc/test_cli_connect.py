"""`virtcard connect` between a real pcscd and a stand-in for QEMU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.pcsc_lab import Lab
from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer
from helpers.scripted_card import ScriptedCard
from virtcard.cli.run import run

ECHO = bytes.fromhex("00A4040000")


def connecting(lab: Lab, place: Path, source: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "virtcard.cli", "connect", f"unix://{place}", source]
    environment = {**os.environ, "PCSCLITE_CSOCK_NAME": str(lab.pcscd.path)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_host_card_is_in_the_guest_until_ctrl_c(lab: Lab) -> None:
    card = ScriptedCard()
    lab.plug(card)
    with TemporaryDirectory() as folder:
        peer = QemuPeer(Path(folder) / "vm.sock")
        child = connecting(lab, Path(folder) / "vm.sock", "reader:Virtual*")
        peer.wait_card()
        assert len(peer.exchange(ECHO)) >= 2
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
        assert (child.returncode, errors) == (130, "")
        assert peer.types()[-2:] == [CARD_REMOVE, READER_REMOVE]
        peer.close()


def test_a_card_that_is_pulled_and_put_back_comes_back(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    with TemporaryDirectory() as folder:
        peer = QemuPeer(Path(folder) / "vm.sock")
        child = connecting(lab, Path(folder) / "vm.sock", "reader:Virtual PCD 00 00")
        peer.wait_card()
        lab.unplug()
        peer.wait_empty()
        lab.plug(ScriptedCard())
        peer.wait_card()
        child.terminate()
        assert child.wait(20) == 0
        peer.close()


def test_a_reader_that_is_not_there_is_exit_code_4(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["connect", "unix:///tmp/nowhere.sock", "reader:Yubico*"]) == 4
    assert "Readers here: " in capsys.readouterr().err
