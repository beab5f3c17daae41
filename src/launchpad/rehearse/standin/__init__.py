"""A stand-in for an inference server: its flags, log lines, load stages, endpoints and metrics, and no model.

Run as ``python3 /opt/rehearsal/engine.py WORDS...`` where the words are the profile's own command; ``settings.py`` lists what
else it is told. The package travels whole into the rehearsal's image, beside ``faults.py`` and under its own name: it needs
nothing but Python >= 3.11, and imports no other part of launchpad.

It refuses to pretend: its first log line and every completion say that this is a rehearsal. It is no model of performance.
"""
