"""The stability lab: experiments that reproduce the theory, each with numbers, a figure and a conclusion."""

from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table

__all__ = ["Check", "Experiment", "Outcome", "Table"]
