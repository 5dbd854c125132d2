"""Recurrent layers with torch's arguments: `RNN`, `LSTM`, `PeepholeLSTM`, `GRU`, and `Recurrent` for any equations."""

from rnn_diag.nn.gru import GRU
from rnn_diag.nn.lstm import LSTM
from rnn_diag.nn.peephole_lstm import PeepholeLSTM
from rnn_diag.nn.recurrent import Recurrent
from rnn_diag.nn.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "PeepholeLSTM", "Recurrent"]
