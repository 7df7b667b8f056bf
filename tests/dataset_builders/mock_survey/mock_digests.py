"""Digest of all that is stored about an object; as a script: of the objects named on the command line."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from dataset_builders.mock_survey.source import MockSurvey

ARRAYS = ("image", "flux", "ivar")


def digests(survey: MockSurvey, numbers: list[int]) -> list[str]:
    """Return one digest for each object."""
    out = []
    for batch in survey.objects(numbers):
        for row in batch.to_pylist():
            digest = hashlib.sha256()
            for name in ARRAYS:
                digest.update(np.array(row.pop(name), np.float32).tobytes())
            digest.update(repr(sorted(row.items())).encode())
            out.append(digest.hexdigest())
    return out


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests(MockSurvey(24, seed=11), [int(number) for number in sys.argv[1:]])))
