"""AstroCLIP (Parker et al. 2024, MNRAS 531, 4990): its models, its training, and the authors' published weights.

Importing this package loads nothing heavy.
"""

from __future__ import annotations
