"""LightningModules around any recurrent layer: a classifier, a regressor and a language model."""

from rnn_diag.models.classifier import SequenceClassifier
from rnn_diag.models.language_model import LanguageModel
from rnn_diag.models.regressor import SequenceRegressor
from rnn_diag.models.sequence_model import SequenceModel

__all__ = ["LanguageModel", "SequenceClassifier", "SequenceModel", "SequenceRegressor"]
