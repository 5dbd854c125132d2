"""Recurrent layers that are torch's, and say what they compute: `RNN`, `LSTM`, `PeepholeLSTM`, `GRU`."""

from rnn_diag.nn.gru import GRU
from rnn_diag.nn.lstm import LSTM
from rnn_diag.nn.peephole_lstm import PeepholeLSTM
from rnn_diag.nn.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "PeepholeLSTM"]
