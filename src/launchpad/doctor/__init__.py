"""Facts x spec x image -> findings."""
