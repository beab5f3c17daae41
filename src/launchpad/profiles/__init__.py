"""Profiles: what people write, read and checked."""
