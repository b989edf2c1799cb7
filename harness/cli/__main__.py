"""``python -m harness.cli`` is ``interop``."""

from harness.cli import main

main()
