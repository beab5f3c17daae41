"""The state directory: what Docker cannot remember."""
