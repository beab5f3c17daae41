"""One process per deployment that keeps it as it is wanted."""
