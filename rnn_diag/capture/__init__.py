"""What every recurrent layer of a model goes through, seen from outside while it trains."""

from rnn_diag.capture.recording import Recording, record
from rnn_diag.capture.registry import Seen, register
from rnn_diag.coverage import Coverage

__all__ = ["Coverage", "Recording", "Seen", "record", "register"]
