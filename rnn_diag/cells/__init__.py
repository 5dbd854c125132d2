"""One recurrence per file: its equations, their adjoint and Jacobian, and the cell module that torch's users know."""

from rnn_diag.cells.by_autograd import AutogradEquations
from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.conv_lstm import ConvLSTMEquations
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Extreme, Gate, Role
from rnn_diag.cells.gru import GRUCell, GRUEquations
from rnn_diag.cells.indrnn import IndRNNEquations
from rnn_diag.cells.layer_norm_lstm import LayerNormLSTMEquations
from rnn_diag.cells.lru import LRUEquations
from rnn_diag.cells.lstm import LSTMCell, LSTMEquations
from rnn_diag.cells.mgu import MGUEquations
from rnn_diag.cells.min_gru import MinGRUEquations
from rnn_diag.cells.min_lstm import MinLSTMEquations
from rnn_diag.cells.peephole_lstm import PeepholeLSTMCell, PeepholeLSTMEquations
from rnn_diag.cells.product import BlockDiagonal, Convolution, Dense, Diagonal, Nothing, Product, Rotation
from rnn_diag.cells.rnn import RNNCell, RNNEquations
from rnn_diag.cells.selective import SelectiveEquations
from rnn_diag.cells.slstm import SLSTMEquations
from rnn_diag.cells.variational_lstm import VariationalLSTMEquations
from rnn_diag.cells.weights import Weights
from rnn_diag.cells.zoneout_lstm import ZoneoutLSTMEquations

__all__ = [
    "AutogradEquations",
    "BlockDiagonal",
    "ConvLSTMEquations",
    "Convolution",
    "Dense",
    "Diagonal",
    "Equations",
    "Extreme",
    "GRUCell",
    "GRUEquations",
    "Gate",
    "IndRNNEquations",
    "LRUEquations",
    "LSTMCell",
    "LSTMEquations",
    "LayerNormLSTMEquations",
    "MGUEquations",
    "MinGRUEquations",
    "MinLSTMEquations",
    "Nothing",
    "PeepholeLSTMCell",
    "PeepholeLSTMEquations",
    "Product",
    "RNNCell",
    "RNNEquations",
    "RecurrentCell",
    "Role",
    "Rotation",
    "SLSTMEquations",
    "SelectiveEquations",
    "State",
    "Step",
    "StepAdjoint",
    "VariationalLSTMEquations",
    "Weights",
    "ZoneoutLSTMEquations",
]
