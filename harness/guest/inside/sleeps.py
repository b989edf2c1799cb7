"""Sleep for a short while, again and again, and say by how much each sleep was too long: COUNT SECONDS LIMIT.

It gives up after LIMIT seconds, and says what it has seen until then.
"""

import json
import sys
import time


def main() -> None:
    """Print the overshoots in seconds; one below 0 is a sleep that ended too early."""
    count, seconds, until = int(sys.argv[1]), float(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    over: list[float] = []
    while len(over) < count and time.monotonic() < until:
        began = time.monotonic_ns()
        time.sleep(seconds)  # noqa: TID251  the sleep itself is what is measured
        over.append((time.monotonic_ns() - began) / 1e9 - seconds)
    print(json.dumps({"overshoots": [round(each, 9) for each in over]}))


if __name__ == "__main__":
    main()
