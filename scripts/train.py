"""The command `rnn-diag-train`, from a checkout: `python scripts/train.py task=adding cell=gru`."""

from rnn_diag.cli.train import main

if __name__ == "__main__":
    main()
