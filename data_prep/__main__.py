"""`python -m data_prep`: the `data-prep` command."""

from data_prep.cli import main

main()
