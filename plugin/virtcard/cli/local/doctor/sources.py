"""The card sources that are installed: every one is loaded, in this process, as virtcardd does it in its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning

if TYPE_CHECKING:
    from virtcard.card.reader_watcher import ReaderWatcher
    from virtcard.card.sources import Sources

OURS = frozenset({"card", "reader"})


def check_sources(situation: Situation) -> Outcome:
    """Each serves; one of a third party that does not is a warning, since it hurts no other."""
    from virtcard.card.base import Surroundings
    from virtcard.card.sources import Sources

    return judged(Sources.installed(Surroundings(situation.bus == "session", _watcher)))


def judged(sources: Sources) -> Outcome:
    """What is to be said of what was found."""
    sentences = [str(broken) for broken in sources.broken]
    unregistered = OURS - set(sources.schemes) - {broken.scheme for broken in sources.broken}
    sentences += [f"The card source '{scheme}:' is not registered." for scheme in sorted(unregistered)]
    if not sentences:
        return ok(f"The card sources {', '.join(f'{scheme}:' for scheme in sources.schemes)} serve.")
    if set(sources.schemes) >= OURS:
        return warning(" ".join(sentences), _hint(sources))
    return error(" ".join(sentences), "Install virtcard again.")


def _watcher() -> ReaderWatcher:
    """One that never starts: sources are made here, and none opens a card."""
    from virtcard.card.reader_watcher import ReaderWatcher

    return ReaderWatcher()


def _hint(sources: Sources) -> str:
    providers = sorted({broken.provider for broken in sources.broken} - {""})
    return f"Repair or remove {', '.join(providers) or 'the packages that bring them'}; the other sources serve."
