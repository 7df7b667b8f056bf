"""Hubble observing proposals: preview pictures from the archive, with captions made from the proposals' abstracts."""
