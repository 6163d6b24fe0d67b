"""`python -m connleak` is the command `connleak`."""

from connleak.cli import main

main()
