"""timm imports and runs whatever torchvision lies beside torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from astroclip_bench import timm_compat
from astroclip_bench.errors import UserError

FORWARD = """
from astroclip_bench.timm_compat import import_timm
import torch
model = import_timm().create_model("resnet18", pretrained=False, num_classes=0).eval()
print(tuple(model(torch.zeros(2, 3, 32, 32)).shape))
"""


def test_forward_pass_in_a_fresh_process():
    done = subprocess.run([sys.executable, "-c", FORWARD], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 512)"


def test_other_failures_are_one_clear_line(monkeypatch):
    def fail(name):
        raise RuntimeError("libcudart is missing")

    monkeypatch.setattr(timm_compat.importlib, "import_module", fail)
    with pytest.raises(UserError, match="timm cannot be imported: libcudart is missing; install"):
        timm_compat.import_timm()
