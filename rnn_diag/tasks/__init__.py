"""What the networks are trained on: data modules, each with the score that guessing would reach."""

from rnn_diag.batch import IGNORED_TARGET, Batch, TaskSpec
from rnn_diag.tasks.adding import Adding
from rnn_diag.tasks.braces import Braces
from rnn_diag.tasks.copy_memory import CopyMemory
from rnn_diag.tasks.digits import Digits
from rnn_diag.tasks.generated import GeneratedTask
from rnn_diag.tasks.selective_copying import SelectiveCopying
from rnn_diag.tasks.smnist import SequentialMNIST
from rnn_diag.tasks.source_text import SourceText
from rnn_diag.tasks.task import SequenceTask
from rnn_diag.tasks.temporal_order import TemporalOrder
from rnn_diag.tasks.timing import Timing

__all__ = [
    "IGNORED_TARGET",
    "Adding",
    "Batch",
    "Braces",
    "CopyMemory",
    "Digits",
    "GeneratedTask",
    "SelectiveCopying",
    "SequenceTask",
    "SequentialMNIST",
    "SourceText",
    "TaskSpec",
    "TemporalOrder",
    "Timing",
]
