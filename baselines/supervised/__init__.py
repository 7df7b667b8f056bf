"""Networks that are trained on the labels themselves: what embeddings are held against.

A stage of kind ``supervised`` in a recipe of ``astroclip-bench train``; its ``model.pt`` embeds and predicts.
"""

from __future__ import annotations
