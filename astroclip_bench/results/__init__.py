"""The result of one evaluation: its record, its JSON schema, and tables drawn from it."""
