"""Which parameters are a layer's own, and whether they are frozen, optimised or changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from rnn_diag.capture.modules import RecurrentModule, find_recurrent


def parameters_of_layers(model: nn.Module) -> Mapping[str, list[nn.Parameter]]:
    """Return the parameters of every recurrent layer and direction, by its name.

    Example:
        >>> {layer: len(own) for layer, own in parameters_of_layers(nn.LSTM(2, 3, num_layers=2)).items()}
        {'l0': 4, 'l1': 4}
    """
    return parameters_of(find_recurrent(model)[0])


def parameters_of(found: Iterable[RecurrentModule]) -> Mapping[str, list[nn.Parameter]]:
    """Return the same of modules that are found already."""
    return {one.name(suffix): _of_layer(one.module, suffix) for one in found for suffix in one.suffixes}


def frozen_layers(layers: Mapping[str, list[nn.Parameter]]) -> frozenset[str]:
    """Return the layers that have parameters none of which needs a gradient."""
    return frozenset(layer for layer, own in layers.items() if own and not any(one.requires_grad for one in own))


def in_no_optimizer(
    layers: Mapping[str, list[nn.Parameter]], model: nn.Module, optimized: Iterable[Tensor]
) -> frozenset[str]:
    """Return the layers whose weights need gradients, none of which any optimiser changes.

    Where no parameter of the whole model is in an optimiser, as under strategies that flatten them, that is not known.

    Args:
        layers: The parameters of every layer.
        model: That holds them.
        optimized: The parameters of all optimisers.

    Example:
        >>> model = nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1))
        >>> sorted(in_no_optimizer(parameters_of_layers(model), model, model[1].parameters()))
        ['0.l0']
    """
    changed = {id(parameter) for parameter in optimized}
    if not any(id(parameter) in changed for parameter in model.parameters()):
        return frozenset()
    learning = {layer: [one for one in own if one.requires_grad] for layer, own in layers.items()}
    return frozenset(layer for layer, own in learning.items() if own and not any(id(one) in changed for one in own))


def times_changed(layers: Mapping[str, list[nn.Parameter]]) -> Mapping[str, int]:
    """Return how often the weights of every layer have been changed in place, as optimisers do.

    Example:
        >>> import torch
        >>> layer = nn.GRU(2, 1)
        >>> own = parameters_of_layers(layer)
        >>> before = times_changed(own)["l0"]
        >>> with torch.no_grad():
        ...     _ = layer.weight_hh_l0.mul_(2)
        >>> times_changed(own)["l0"] - before
        1
    """
    return {layer: sum(one._version for one in own) for layer, own in layers.items()}


def _of_layer(module: nn.Module, suffix: str) -> list[nn.Parameter]:
    """Return a fused module's parameters of one layer; all of a module that has one layer."""
    named = [(name, one) for name, one in module.named_parameters() if one is not None]
    own = [one for name, one in named if name.endswith(f"_{suffix}")]
    return own or [one for _, one in named]
