"""Run the command line with `python -m ranspec`."""

from ranspec.cli import main

main()
