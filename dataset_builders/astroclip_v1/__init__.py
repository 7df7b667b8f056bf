"""The pairs that AstroCLIP was trained and scored on, for parity with published rows."""
