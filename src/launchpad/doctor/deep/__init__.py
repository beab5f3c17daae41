"""Active checks: what can only be seen by trying it, on request alone (``launchpad doctor --deep``).

``plan`` (pure) says what would be done, ``run`` and ``carry`` do it, ``judge`` (pure) turns figures into findings. What runs inside
a container is data, under ``scripts/``. Nothing here changes a GPU's settings, and nothing stays behind.
"""
