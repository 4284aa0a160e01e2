"""`python -m loracast`."""

from loracast.cli import main

main()
