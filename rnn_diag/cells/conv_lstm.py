"""The convolutional LSTM: every pixel of every channel is a unit, and units see their neighbourhood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rnn_diag.arguments import whole
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.peephole_lstm import PEEPHOLES, PeepholeLSTMEquations
from rnn_diag.cells.product import Convolution
from rnn_diag.cells.weights import Weights

_PIXELWISE = PeepholeLSTMEquations()


@final
class ConvLSTMEquations(Equations):
    r"""A peephole LSTM both of whose products are convolutions.

    .. math::
        i = σ(W_i * x_t + U_i * h_{t-1} + p_i ⊙ c_{t-1}), \quad \dots, \quad h_t = o ⊙ \tanh(c_t)

    A layer takes and returns images `[T, B, C, height, width]`; `input_size` and `hidden_size` count the pixels of all
    channels. Inside, as in a trace, images are flat: norms are over all axes but the batch. `weight_hh` is
    `[4·C, C, k, k]`; peepholes start at 0. The spectrum is that of the dense matrix that the convolution is, with zeros
    around the image; it is left out above 1024 units.

    Args:
        size: Height and width of the images.
        kernel_size: Height and width of the kernels, odd.

    Raises:
        ValueError: If the kernel size is even, or something is not positive.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> layer = Recurrent(ConvLSTMEquations((4, 5)), input_size=3 * 20, hidden_size=2 * 20)
        >>> output, (h, c) = layer(torch.zeros(7, 1, 3, 4, 5))
        >>> output.shape, h.shape
        (torch.Size([7, 1, 2, 4, 5]), torch.Size([1, 1, 2, 4, 5]))

    Reference:
        Shi et al. 2015, https://arxiv.org/abs/1506.04214
    """

    name: ClassVar[str] = "conv_lstm"
    blocks = _PIXELWISE.blocks
    has_cell: ClassVar[bool] = True
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = _PIXELWISE.extra_parameters
    hidden_is_bounded = True

    def __init__(self, size: tuple[int, int] = (8, 8), kernel_size: int = 3) -> None:
        height, width = (whole("size", side, at_least=1) for side in size)
        if whole("kernel_size", kernel_size, at_least=1) % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}; expected an odd number, which leaves the size as it is")
        self.image_size = (height, width)
        self.input_product = self.recurrent_product = Convolution(self.image_size, kernel_size)

    def __reduce__(self) -> tuple[Any, ...]:
        assert isinstance(self.recurrent_product, Convolution)
        return ConvLSTMEquations, (self.image_size, self.recurrent_product.kernel)

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        r"""Draw the kernels from :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` for the `n` pixels that one sees, as torch does."""
        for kernel, bias in ((weights.weight_ih, weights.bias_ih), (weights.weight_hh, weights.bias_hh)):
            bound = kernel[0].numel() ** -0.5
            kernel.uniform_(-bound, bound)
            if bias is not None:
                bias.uniform_(-bound, bound)
        for name in PEEPHOLES:
            weights.extra[name].zero_()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return a peephole LSTM's step of every pixel."""
        return _PIXELWISE.step(projected, recurrent, previous, weights)

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return its adjoint."""
        return _PIXELWISE.adjoint(step, previous, emitted_grad, cell_grad, weights)

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the peepholes' gradients."""
        return _PIXELWISE.extra_weight_grads(step, previous, adjoint, emitted_grad, weights)
