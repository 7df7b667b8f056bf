"""Templates, style and script of the board's pages."""
