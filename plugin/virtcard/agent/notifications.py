"""Asks by notifications of the desktop: one for each question, and whoever closes it has said no."""

from __future__ import annotations

from virtcard.agent import words
from virtcard.agent.asked import Choice, Notice, Question
from virtcard.bus.client.desktop import Desktop, Notification


class Notifications:
    """A front."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop

    async def ask(self, question: Question) -> Choice:
        """The button that was clicked."""
        buttons = {choice.value: words.button(choice, question) for choice in question.choices}
        key = await self._desktop.ask(Notification(words.summary(question), words.sentence(question), buttons))
        return Choice(key) if key in buttons else Choice.DENY

    async def tell(self, notice: Notice) -> None:
        """A notification without buttons."""
        told = words.told(notice)
        if told is not None:
            await self._desktop.show(Notification(*told, {}))
