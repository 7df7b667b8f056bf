"""JSON schemas of what a submission holds, shipped with the package."""
