"""launchpad: launch and supervise LLM inference servers on a GPU rig.

A profile says what we want, a survey says what we have; launchpad prints the difference, makes it so, and keeps it so.
This package exposes nothing at its top: the command line is the public face, and the rooms below it are listed, with
the floors they stand on, in CONTRIBUTING.md.
"""

__version__ = "0.1.0"
