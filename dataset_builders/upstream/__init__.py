"""Readers of the surveys' own files: one module a format, all of one shape (see `reader`)."""
