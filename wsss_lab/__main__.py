"""`python -m wsss_lab` is the command `wsss`."""

from wsss_lab.lab.cli import main

main()
