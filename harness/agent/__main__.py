"""``python -m harness.agent``: the script that a lab signs and puts on its hosts (``docs/hyperv-host.md``)."""

from __future__ import annotations

import sys

from harness import agent

sys.stdout.buffer.write(agent.source())
