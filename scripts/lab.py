"""The command `rnn-diag-lab`, from a checkout: `python scripts/lab.py scalar_recursion`."""

from rnn_diag.cli.lab import main

if __name__ == "__main__":
    main()
