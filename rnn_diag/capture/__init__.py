"""What every recurrent layer of a model goes through, seen from outside while it trains."""

from rnn_diag.capture.recording import Coverage, Recording, record

__all__ = ["Coverage", "Recording", "record"]
