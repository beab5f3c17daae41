"""``python -m launchpad``: the same as the ``launchpad`` command."""

from launchpad.cli.main import main

if __name__ == "__main__":
    main()
