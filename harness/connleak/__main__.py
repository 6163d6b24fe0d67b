"""`python -m connleak` is the command `connleak`."""

from connleak.cli.main import main

main()
