"""`python contrib/man/manual.py DIRECTORY`: write the man pages to DIRECTORY/man1 and so on, as in /usr/share/man.

SOURCE_DATE_EPOCH is the date at their foot, else it is today's.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from man_pages import pages


def main(directory: Path) -> None:
    """All of them."""
    moment = time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    for name, text in pages(time.strftime("%Y-%m-%d", moment)).items():
        folder = directory / f"man{name[-1]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
