"""The machine: what is true of it until reboot, and what its GPUs say now."""
