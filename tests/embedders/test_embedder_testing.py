"""The parametrisation that third parties use, in a test session of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

SUITE = """
    import numpy as np
    from astroclip_bench.embedders import EmbedderInfo, load_embedder
    from astroclip_bench.embedders.testing import parametrize_with_checks
    from astroclip_bench.records import photometry_modality

    class Noisy:
        info = EmbedderInfo("noisy", "0" * 32, 2, ("photometry",), "none")

        def embed(self, batch, modality):
            return np.random.default_rng().normal(size=(len(batch["flux_r"]), 2)).astype(np.float32)

    def sound():
        return load_embedder("photometry")

    @parametrize_with_checks([sound, Noisy], dataset=[photometry_modality("gr")])
    def test_contract(check):
        check()
"""


def test_one_test_a_check(tmp_path):
    (tmp_path / "test_theirs.py").write_text(textwrap.dedent(SUITE))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("test_contract[sound-") == 7
    assert "test_contract[sound-batch-size] PASSED" in done.stdout
    assert "test_contract[Noisy-determinism] FAILED" in done.stdout
    assert "EmbedderError: 'noisy' fails 1 of 1 checks: determinism" in done.stdout
    assert "4 failed, 10 passed" in done.stdout
