"""The parameters of one layer in one direction, by torch's names, and those that a recurrence has beyond torch's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

TORCHS_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
"""What torch calls the parameters of a layer and direction, in its order."""


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer in one direction.

    Attributes:
        weight_ih: `[G*H, I]`.
        weight_hh: `[G*H, P]`, where `P` is `proj_size` or `H`.
        bias_ih, bias_hh: `[G*H]` or None.
        weight_hr: `[P, H]` projection of the hidden state, or None.
        extra: Those that `Equations.extra_parameters` declares, by name.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def names(extra: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the names of all parameters: torch's, then those of `Equations.extra_parameters`."""
        return (*TORCHS_NAMES, *extra)

    @classmethod
    def from_names(cls, values: Mapping[str, Tensor | None]) -> Weights:
        """Return weights from a mapping of names to parameters; those that do not exist are None or left out.

        Example:
            >>> weights = Weights.from_names({"weight_ih": torch.ones(2, 1), "weight_hh": torch.ones(2, 2)})
            >>> list(weights.present())
            ['weight_ih', 'weight_hh']
        """
        torchs = {name: values.get(name) for name in TORCHS_NAMES}
        extra = {name: value for name, value in values.items() if name not in torchs and value is not None}
        return cls(**torchs, extra=extra)  # type: ignore[arg-type]

    def present(self) -> dict[str, Tensor]:
        """Return the parameters that exist, by name."""
        torchs = {name: getattr(self, name) for name in TORCHS_NAMES}
        return {name: value for name, value in torchs.items() if value is not None} | dict(self.extra)

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        """Return weights with a function applied to every parameter."""
        return Weights.from_names({name: function(value) for name, value in self.present().items()})

    def to(self, dtype: torch.dtype) -> Weights:
        """Return detached weights of another dtype."""
        return self.map(lambda value: value.detach().to(dtype))

    def copy(self) -> Weights:
        """Return detached copies, which later optimiser steps leave alone."""
        return self.map(lambda value: value.detach().clone())

    def project(self, emitted: Tensor) -> Tensor:
        """Return the hidden state that is fed back and handed on: `W_hr · emitted`, or `emitted` itself."""
        return emitted if self.weight_hr is None else emitted @ self.weight_hr.T


def weights_of(module: nn.Module, suffix: str) -> Weights:
    """Return the parameters of one layer and direction of a module.

    Example:
        >>> weights_of(nn.LSTM(2, 3, num_layers=2), "l1").weight_ih.shape
        torch.Size([12, 3])
    """
    ending = f"_{suffix}" if isinstance(module, nn.RNNBase) else ""
    extra = getattr(getattr(module, "equations", None), "extra_parameters", ())
    return Weights.from_names({name: getattr(module, f"{name}{ending}", None) for name in Weights.names(extra)})
