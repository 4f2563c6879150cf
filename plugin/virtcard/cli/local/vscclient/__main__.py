"""`python -m virtcard.cli.local.vscclient`: the same command without its script."""

from __future__ import annotations

import sys

from virtcard.cli.local.vscclient import main

sys.exit(main())
