"""Shelves tell of what came, changed and went, and of nothing else."""

from __future__ import annotations

import pytest

from virtcard.service.registry import Shelf

Told = list[tuple[str, int | None, int | None]]


def _told(shelf: Shelf[str, int]) -> Told:
    told: Told = []
    shelf.listen(lambda key, old, new: told.append((key, old, new)))
    return told


def test_listeners_hear_of_adding_changing_and_dropping() -> None:
    shelf: Shelf[str, int] = Shelf()
    told = _told(shelf)
    shelf.put("a", 1)
    shelf.put("a", 2)
    shelf.drop("a")
    assert told == [("a", None, 1), ("a", 1, 2), ("a", 2, None)]


def test_the_same_view_again_is_no_news() -> None:
    shelf: Shelf[str, int] = Shelf()
    shelf.put("a", 1)
    told = _told(shelf)
    shelf.put("a", 1)
    shelf.drop("b")
    assert told == []


def test_a_listener_may_leave_while_it_is_told() -> None:
    shelf: Shelf[str, int] = Shelf()
    heard: list[str] = []

    def once(key: str, _old: int | None, _new: int | None) -> None:
        heard.append(key)
        shelf.unlisten(once)

    shelf.listen(once)
    told = _told(shelf)
    shelf.put("a", 1)
    shelf.put("b", 1)
    assert heard == ["a"]
    assert [key for key, _, _ in told] == ["a", "b"]


def test_a_listener_that_fails_keeps_the_change_from_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    shelf: Shelf[str, int] = Shelf()

    def broken(_key: str, _old: int | None, _new: int | None) -> None:
        raise ValueError("a bug")

    shelf.listen(broken)
    told = _told(shelf)
    shelf.put("a", 1)
    assert told == [("a", None, 1)]
    assert shelf.get("a") == 1
    assert "a bug" in caplog.text
