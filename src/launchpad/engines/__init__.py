"""How each inference server is launched: flags, probes, log lines. Never Docker."""
