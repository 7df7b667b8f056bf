"""The contract of an embedder in your own test suite.

Write, in a test file of your package::

    from astroclip_bench.embedders.testing import parametrize_with_checks
    from my_package import my_embedder

    @parametrize_with_checks([my_embedder])
    def test_contract(check):
        check()

and each factory gives one test a check: evaluation mode, output, determinism, batch size, order, input unchanged,
label independence. A factory is called without arguments, once, when the first of its tests runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from astroclip_bench.embedders.check import named_checks
from astroclip_bench.embedders.protocol import Embedder
from astroclip_bench.embedders.samples import SAMPLE_ROWS, Inputs

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    factories: Sequence[Callable[[], Embedder]],
    *,
    dataset: Inputs = None,
    modalities: Sequence[str] | None = None,
    n: int = SAMPLE_ROWS,
) -> pytest.MarkDecorator:
    """Parametrise a test function over the argument ``check``.

    Parameters
    ----------
    factories
        Callables without arguments that return an embedder.
    dataset, modalities, n
        As for `check_embedder`: where the inputs come from (synthetic ones by default), which modalities, how many
        objects.
    """
    import pytest

    cases = [
        pytest.param(run, id=f"{getattr(factory, '__name__', 'embedder')}-{name.replace(' ', '-')}")
        for factory in factories
        for name, run in named_checks(cache(factory), dataset, modalities, n)
    ]
    return pytest.mark.parametrize("check", cases)
