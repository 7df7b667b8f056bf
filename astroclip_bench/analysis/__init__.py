"""What an embedding space looks like: its shape, its clusters and its outliers."""
