"""`virtcard agent --terminal` on a terminal: whatever is not clearly a yes is a no."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.agent_process import AskingDaemon, Screen, asking_daemon, environment, terminal_process
from helpers.bus import PrivateBus, eventually, private_bus, run_async
from helpers.desktop import MockDesktop, on_the_bus, template
from helpers.fake_service import FEDORA, WIN11
from helpers.virtcardd import BIN
from virtcard.bus.address import BusKind
from virtcard.bus.client.desktop import SCREEN_SAVER
from virtcard.bus.connection import Bus
from virtcard.service.question import Answer, Choice, Notice, NoticeKind

PROMPT = "Anything else denies. Answer: "


@pytest.fixture
def session() -> Iterator[PrivateBus]:
    """A session bus; `private` is the system bus."""
    with private_bus() as bus:
        yield bus


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon, and an agent on a terminal."""

    daemon: AskingDaemon
    screen: Screen
    process: subprocess.Popen[bytes]

    async def answer(self, keys: str, **changes: object) -> Answer:
        """The answer when the person types this below the question."""
        waiting = await self.asking(**changes)
        self.screen.type(keys)
        return await waiting

    async def asking(self, **changes: object) -> asyncio.Task[Answer]:
        """A question that is on the screen."""
        before = self.screen.text.count(PROMPT)
        task = asyncio.create_task(self.daemon.ask(**changes))
        await self.screen.shows(PROMPT, before + 1)
        return task


@asynccontextmanager
async def scene(system: PrivateBus, session: PrivateBus | None = None) -> AsyncIterator[Scene]:
    async with asking_daemon(system) as daemon:
        with terminal_process(environment(system, session)) as (process, screen):
            await daemon.has_agent()
            yield Scene(daemon, screen, process)


def test_the_question_says_who_wants_what_and_what_can_be_answered(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert (await here.answer("o\n")).allowed
            await here.screen.shows("Allow once.\n")
            assert here.screen.text.split("Ctrl-C ends.\n")[1] == (
                '\nThe virtual machine "win11" wants to have the card "reader:Yubico".\n'
                "  o  Allow once\n  a  Always allow\n  s  Allow until I log out\n  t  Allow for 10 minutes\n"
                f"{PROMPT}o\nAllow once.\n"
            )

    run_async(test())


@pytest.mark.parametrize(
    ("keys", "choice"),
    [
        ("o\n", "once"),
        ("ONCE\n", "once"),
        (" t \n", "time"),
        ("s\n", "session"),
        ("always\n", "always"),
        ("\n", "deny"),
        ("n\n", "deny"),
        ("y\n", "deny"),
        ("yes\n", "deny"),
        ("oo\n", "deny"),
        ("once always\n", "deny"),
        ("\x04", "deny"),
        ("ü\x80\n", "deny"),
    ],
)
def test_a_letter_or_a_word_is_a_yes_and_anything_else_a_no(private: PrivateBus, keys: str, choice: str) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert (await here.answer(keys)).choice.value == choice

    run_async(test())


def test_what_was_typed_before_the_question_is_no_answer(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            here.screen.type("o\no\na")
            await here.screen.shows("o\no\na")
            waiting = await here.asking()
            here.screen.type("\n")
            assert (await waiting).choice is Choice.DENY

    run_async(test())


def test_an_answer_that_was_not_offered_is_a_no(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert not (await here.answer("a\n", choices=(Choice.ONCE,))).allowed
            assert "Always" not in here.screen.text

    run_async(test())


def test_a_name_cannot_drive_the_terminal(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert (await here.answer("o\n", domain='\x1b[2Jwin" is fine\n\u202e', source="card:" + "x" * 200)).allowed
            assert "\x1b" not in here.screen.text
            assert '"\ufffd[2Jwin\' is fine\ufffd\ufffd" wants' in here.screen.text
            assert f'"card:{"x" * 74}\u2026".' in here.screen.text

    run_async(test())


def test_questions_come_one_after_the_other(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            first = await here.asking()
            second = asyncio.create_task(here.daemon.ask(uuid=FEDORA, domain="fedora"))
            await here.screen.shows("win11")
            assert "fedora" not in here.screen.text
            here.screen.type("o\n")
            assert (await first).allowed
            await here.screen.shows(PROMPT, 2)
            here.screen.type("n\n")
            assert not (await second).allowed

    run_async(test())


def test_a_question_that_is_over_says_so_and_its_answer_is_not_for_the_next(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            waiting = await here.asking(patience=1.0)
            here.screen.type("o")
            assert not (await waiting).allowed
            await here.screen.shows("The question is over.")
            assert not (await here.answer("\n", operation="sign")).allowed

    run_async(test())


def test_a_notice_is_a_line(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            here.daemon.asker.tell(Notice(NoticeKind.PIN_GUARD, WIN11, "win11", "card:jane"))
            await here.screen.shows('No more PINs of the virtual machine "win11" reach the card "card:jane"')

    run_async(test())


def test_on_a_locked_desktop_nothing_is_asked(private: PrivateBus, session: PrivateBus) -> None:
    async def test() -> None:
        with template(session.address, "gnome_screensaver"):
            person = await Bus.open(BusKind.SESSION, address=session.address)
            await on_the_bus(person, SCREEN_SAVER)
            async with scene(private, session) as here:
                await MockDesktop(person).lock(True)
                assert not (await here.daemon.ask()).allowed
                assert "win11" not in here.screen.text
            await person.close()

    run_async(test())


@pytest.mark.parametrize(("keys", "exit_code"), [("\x04", 1), ("\x03", 130)])
def test_the_end_of_the_terminal_and_ctrl_c_end_the_agent(private: PrivateBus, keys: str, exit_code: int) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert not (await here.answer(keys)).allowed
            await eventually(lambda: here.process.poll() is not None, "it ends")
            assert here.process.returncode == exit_code

    run_async(test())


def test_sigterm_ends_it_in_order(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            here.process.send_signal(signal.SIGTERM)
            await eventually(lambda: here.process.poll() is not None, "it ends")
            assert here.process.returncode == 0

    run_async(test())


def test_without_a_terminal_it_says_so(private: PrivateBus, tmp_path: Path) -> None:
    variables = environment(private, None) | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["setsid", "--wait", BIN / "virtcard", "agent", "--terminal"],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "There is no terminal here to ask on." in done.stderr
