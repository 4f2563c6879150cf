"""`virtcard agent` on a desktop: a notification for each question, and every way in which it is a no."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from dbus_next.errors import DBusError
from dbus_next.message import Message

from helpers.agent_process import AskingDaemon, agent_process, asking_daemon, environment
from helpers.bus import PrivateBus, eventually, private_bus, run_async
from helpers.desktop import DISMISSED, EXPIRED, WITH_BUTTONS, MockDesktop, on_the_bus, template
from helpers.fake_service import WIN11
from virtcard.bus.address import BusKind
from virtcard.bus.client.desktop import NOTIFICATIONS, SCREEN_SAVER
from virtcard.bus.client.registration import PATH
from virtcard.bus.connection import Bus
from virtcard.names import AGENT
from virtcard.service.question import Answer, Choice, Notice, NoticeKind

NO_BUTTONS = "body body-markup"


@pytest.fixture
def session() -> Iterator[PrivateBus]:
    """The session bus; `private` is the system bus."""
    with private_bus() as bus:
        yield bus


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon, an agent that is registered with it, and the desktop between them and the person."""

    daemon: AskingDaemon
    desktop: MockDesktop
    agent: subprocess.Popen[bytes]
    log: Path
    server: subprocess.Popen[bytes]

    async def asking(self, **changes: object) -> asyncio.Task[Answer]:
        """A question that is on the screen as the first notification."""
        task = asyncio.create_task(self.daemon.ask(**changes))
        await self.desktop.wait_for(1)
        return task


@asynccontextmanager
async def scene(
    system: PrivateBus, session: PrivateBus, tmp_path: Path, capabilities: str = WITH_BUTTONS, *, saver: bool = False
) -> AsyncIterator[Scene]:
    log = tmp_path / "agent.log"
    with ExitStack() as stack:
        server = stack.enter_context(template(session.address, "notification_daemon", capabilities=capabilities))
        if saver:
            stack.enter_context(template(session.address, "gnome_screensaver"))
        person = await Bus.open(BusKind.SESSION, address=session.address)
        try:
            await on_the_bus(person, NOTIFICATIONS)
            if saver:
                await on_the_bus(person, SCREEN_SAVER)
            async with asking_daemon(system) as daemon:
                agent = stack.enter_context(agent_process(environment(system, session), log))
                await daemon.has_agent()
                yield Scene(daemon, MockDesktop(person), agent, log, server)
        finally:
            await person.close()


def test_a_person_sees_who_wants_what_and_clicks(private: PrivateBus, session: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            for count, (operation, key) in enumerate(
                [("insert", "once"), ("pin", "time"), ("sign", "session"), ("decrypt", "always"), ("other", "deny")], 1
            ):
                choices = tuple(choice for choice in Choice if choice is not Choice.DENY)
                waiting = asyncio.create_task(here.daemon.ask(operation=operation, choices=choices))
                shown = await here.desktop.wait_for(count)
                assert '"win11"' in shown.body
                assert '"reader:Yubico"' in shown.body
                assert shown.actions == {
                    "deny": "Deny",
                    "once": "Allow once",
                    "always": "Always allow",
                    "session": "Allow until I log out",
                    "time": "Allow for 10 minutes",
                }
                assert shown.hints["urgency"] == 2
                assert shown.hints["resident"] is True
                assert shown.expiry == 0
                await here.desktop.click(shown.number, key)
                assert (await waiting).choice.value == key
                await here.desktop.wait_closed(shown.number)
            assert [shown.body.split('"win11" ')[1].split(" the card")[0] for shown in await here.desktop.shown()] == [
                "wants to have",
                "wants to send a PIN to",
                "wants to sign with",
                "wants to decrypt with",
                "wants to use (for other)",
            ]

    run_async(test())


@pytest.mark.parametrize("reason", [EXPIRED, DISMISSED, 3, 4])
def test_whoever_closes_it_has_said_no(private: PrivateBus, session: PrivateBus, tmp_path: Path, reason: int) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = await here.asking()
            await here.desktop.close(1, reason)
            assert not (await waiting).allowed

    run_async(test())


@pytest.mark.parametrize("key", ["default", "allow", "", "time", "ONCE"])
def test_a_key_that_no_button_has_is_a_no(private: PrivateBus, session: PrivateBus, tmp_path: Path, key: str) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = asyncio.create_task(here.daemon.ask(choices=(Choice.ONCE,)))
            await here.desktop.wait_for(1)
            await here.desktop.click(1, key)
            assert (await waiting).choice is Choice.DENY

    run_async(test())


def test_what_happens_to_others_notifications_is_no_answer(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = await here.asking()
            await here.desktop.click(77, "once")
            await here.desktop.close(78)
            forged = Message.new_signal(
                "/org/freedesktop/Notifications", NOTIFICATIONS, "ActionInvoked", "us", [1, "once"]
            )
            await here.desktop.bus.send(forged)
            await here.desktop.click(1, "session")
            assert (await waiting).choice is Choice.SESSION

    run_async(test())


def test_a_question_that_is_over_leaves_the_screen(private: PrivateBus, session: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            assert (await here.daemon.ask(patience=1.0)).why == "Nobody answered in time."
            await here.desktop.wait_closed(1)

    run_async(test())


@pytest.mark.parametrize(
    ("capabilities", "body"),
    [
        (WITH_BUTTONS, 'The virtual machine "&lt;b&gt;win&amp;\ufffd[2J\ufffd\'" wants to have'),
        ("actions body", 'The virtual machine "<b>win&\ufffd[2J\ufffd\'" wants to have'),
    ],
)
def test_a_name_is_text_and_nothing_else(
    private: PrivateBus, session: PrivateBus, tmp_path: Path, capabilities: str, body: str
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path, capabilities) as here:
            waiting = asyncio.create_task(here.daemon.ask(domain='<b>win&\x1b[2J\u202e"', source="card:x"))
            shown = await here.desktop.wait_for(1)
            assert shown.body.startswith(body)
            assert "win" not in shown.summary
            await here.desktop.close(1)
            await waiting

    run_async(test())


def test_notifications_without_buttons_are_a_no_and_a_word_in_the_log(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path, NO_BUTTONS) as here:
            assert not (await here.daemon.ask()).allowed
            assert await here.desktop.shown() == []
            assert "have no buttons. Run 'virtcard agent --terminal' instead." in here.log.read_text()

    run_async(test())


def test_a_notification_server_that_vanishes_or_is_not_there_is_a_no(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = await here.asking()
            here.server.terminate()
            assert (await waiting).choice is Choice.DENY
            assert not (await here.daemon.ask(operation="sign")).allowed
            assert "Nobody shows notifications here." in here.log.read_text()

    run_async(test())


def test_a_locked_screen_is_a_no_at_once(private: PrivateBus, session: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path, saver=True) as here:
            await here.desktop.lock(True)
            assert not (await here.daemon.ask()).allowed
            assert await here.desktop.shown() == []
            await here.desktop.lock(False)
            waiting = await here.asking(operation="sign")
            await here.desktop.lock(True)
            assert (await waiting).choice is Choice.DENY
            await here.desktop.wait_closed(1)

    run_async(test())


def test_a_notice_is_shown_without_buttons(private: PrivateBus, session: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            here.daemon.asker.tell(Notice(NoticeKind.PIN_GUARD, WIN11, "win11", "reader:Yubico"))
            shown = await here.desktop.wait_for(1)
            assert (shown.summary, shown.actions) == ("PIN attempts were stopped", {})
            assert '"win11"' in shown.body
            here.daemon.asker.tell(Notice(NoticeKind.LOCKED_EJECT, WIN11, "win11", "reader:Yubico"))
            assert (await here.desktop.wait_for(2)).summary == "A smart card was taken out"

    run_async(test())


def test_the_agent_comes_back_to_a_daemon_that_was_restarted(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = await here.asking()
            await here.daemon.bus.close()
            await here.desktop.wait_closed(1)
            waiting.cancel()
            for count in (2, 3):
                async with asking_daemon(private) as again:
                    await again.has_agent()
                    task = asyncio.create_task(again.ask())
                    await here.desktop.click((await here.desktop.wait_for(count)).number, "once")
                    assert (await task).allowed

    run_async(test())


def test_one_agent_serves_the_systems_daemon_and_the_users_own(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            scene(private, session, tmp_path) as here,
            asking_daemon(session, BusKind.SESSION) as own,
        ):
            await own.has_agent()
            both = [asyncio.create_task(each.ask()) for each in (here.daemon, own)]
            await here.desktop.wait_for(2)
            for number in (1, 2):
                await here.desktop.click(number, "once")
            assert [(await each).allowed for each in both] == [True, True]

    run_async(test())


def test_only_the_daemon_may_ask(private: PrivateBus, session: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            names = (await here.desktop.bus.ask_bus("ListNames"))[0]
            stranger = await Bus.open(BusKind.SESSION, address=session.address)
            refusals = []
            for name in (each for each in names if each.startswith(":")):
                for member, signature, body in (("Ask", "a{sv}", {}), ("Cancel", "s", "1"), ("Notify", "a{sv}", {})):
                    with pytest.raises(DBusError) as refused:
                        await stranger.ask(name, PATH, AGENT, member, signature, [body], timeout=5.0)
                    refusals.append(refused.value.type)
            assert refusals.count("org.virtcard1.Error.NotAuthorized") == 3
            assert await here.desktop.shown() == []
            await stranger.close()

    run_async(test())


def test_an_agent_that_is_ended_takes_its_notification_along(
    private: PrivateBus, session: PrivateBus, tmp_path: Path
) -> None:
    async def test() -> None:
        async with scene(private, session, tmp_path) as here:
            waiting = await here.asking()
            here.agent.send_signal(signal.SIGTERM)
            assert (await waiting).choice is Choice.DENY
            await here.desktop.wait_closed(1)
            await eventually(lambda: here.agent.poll() is not None, "it ends")
            assert here.agent.returncode == 0
            assert here.log.read_text() == ""

    run_async(test())


def test_without_a_session_bus_it_says_what_to_do(private: PrivateBus, tmp_path: Path) -> None:
    variables = environment(private, None) | {"XDG_RUNTIME_DIR": str(tmp_path)}
    with agent_process(variables, tmp_path / "log") as process:
        assert process.wait(20) == 1
    assert "There is no session bus here." in (tmp_path / "log").read_text()
