"""Upstream files that can be fetched over HTTP: one function a source, which lists them.

The functions are entry points of the group `astroclip_bench.downloads`. Their annotations are typer's, their
docstrings the help text of `astroclip-bench data download SOURCE`.
"""
