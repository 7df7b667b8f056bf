"""The systems of the field, each one command from data to scored result, and the table of them."""
