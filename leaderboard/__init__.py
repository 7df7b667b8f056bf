"""The table of submitted results."""
