"""A stand-in engine and a recorded rig: every command without a GPU."""
