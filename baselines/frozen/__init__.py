"""Networks that were trained on other pictures, or not at all, as embeddings of galaxy images: any that timm knows."""

from __future__ import annotations
