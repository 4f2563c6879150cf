"""`python -m virtcard.cli`: the same command without its script."""

from __future__ import annotations

import sys

from virtcard.cli import main

sys.exit(main())
