"""Resolve a profile against a rig, plan the difference, apply the plan."""
