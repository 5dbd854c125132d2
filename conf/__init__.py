"""Configuration files: a folder for each thing to swap, a file for each choice; `pkg://rnn_diag.conf` for Hydra."""
