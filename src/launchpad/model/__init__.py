"""The checkpoint on disk: read, never loaded."""
