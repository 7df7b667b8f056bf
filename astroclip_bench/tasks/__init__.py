"""Tasks: what is measured, declared as data; probes and metrics: how."""
