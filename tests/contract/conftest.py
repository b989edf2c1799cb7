"""The contract every backend keeps: written against ``harness.backends.protocol`` alone, run on real hosts and guests."""
