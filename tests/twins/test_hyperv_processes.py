"""What runs behind a command of the twin's."""

from pathlib import Path

from harness.twins.hyperv.processes import Command, Output
from harness.twins.hyperv.programs import Start

BOTH = frozenset({"stdout", "stderr"})


def test_control_c_reaches_a_program_that_is_only_coming_up():
    """And nobody else: the interpreter that becomes the program has nothing to say to it."""
    for _ in range(10):
        command = Command(Start(("/bin/sleep", "600"), {}), {}, Path("/"), piped=False)
        try:
            command.interrupt()
            assert command.receive(BOTH, 100_000, 60) == Output({}, 1)
        finally:
            command.end()
