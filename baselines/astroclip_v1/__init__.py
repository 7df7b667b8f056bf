"""The first AstroCLIP (Lanusse et al. 2023, arXiv 2310.03024v1): a causal spectrum transformer beside MoCo's ResNet."""

from __future__ import annotations
