"""Fail if `astroclip-bench --help` takes longer than half a second (best of five)."""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT_SECONDS = 0.5


def once() -> float:
    """Return the wall time of one call, in seconds."""
    start = time.perf_counter()
    subprocess.run(["astroclip-bench", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


best = min(once() for _ in range(5))
sys.stdout.write(f"astroclip-bench --help: {best:.2f} s\n")
sys.exit(best > LIMIT_SECONDS)
