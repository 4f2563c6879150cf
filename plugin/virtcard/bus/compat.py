"""What dbus-next 0.2.3 (July 2021) needs of newer Pythons. Runs before anything imports dbus_next."""

from __future__ import annotations

import asyncio
import inspect
import typing
from typing import Any


def _unchanged(decorator: Any) -> Any:
    return decorator


def prepare_dbus_next() -> None:
    """Put back what dbus_next imports: one name is gone in Python 3.15, the other goes in 3.16."""
    if not hasattr(typing, "no_type_check_decorator"):
        typing.no_type_check_decorator = _unchanged
    if not hasattr(asyncio, "iscoroutinefunction"):
        asyncio.iscoroutinefunction = inspect.iscoroutinefunction  # type: ignore[assignment]
