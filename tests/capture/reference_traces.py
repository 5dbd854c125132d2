"""One configuration of a recurrent module, recorded and unrolled by hand, and how far their numbers are apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnn_diag.nn
from rnn_diag import Trace, record
from tests.reference import unrolled
from tests.reference.minimal_gated_unit import MinimalGatedUnit
from tests.reference.random_layers import EQUATIONS

LENGTHS = {"tensor": [6, 6, 6], "unbatched": [6], "packed": [6, 4, 1], "packed unsorted": [4, 1, 6]}
FEATURES, UNITS, PROJECTED = 4, 5, 3


@dataclass(frozen=True)
class Case:
    """One cell of the grid."""

    kind: str
    layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    layout: str = "tensor"
    given_state: bool = False
    projected: bool = False
    bias: bool = True
    loss: str = "everything"
    engine: str = "auto"

    def __str__(self) -> str:
        words = [self.kind, f"{self.layers} layers", self.layout, self.loss]
        flags = ("bidirectional", "batch_first", "given_state", "projected")
        return "-".join([*words, *(flag for flag in flags if getattr(self, flag)), *([] if self.bias else ["no bias"])])

    @property
    def has_cell(self) -> bool:
        return EQUATIONS[self.kind].has_cell if self.kind in EQUATIONS else "LSTM" in self.kind

    @property
    def units(self) -> int:
        """How many there are: an even number where two belong together."""
        return 6 if self.kind in EQUATIONS else UNITS

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of each part of the state."""
        memory = EQUATIONS[self.kind].cell_size(self.units) if self.kind in EQUATIONS else self.units
        return (PROJECTED if self.projected else self.units, *((memory,) if self.has_cell else ()))


def grid() -> list[Case]:
    """Every kind, depth, direction, layout, state, projection and loss together; batch first and bias by turns."""
    axes = itertools.product(
        ("LSTM", "GRU", "RNN tanh", "RNN relu", "PeepholeLSTM", "explicit LSTM"),
        (1, 2),
        (False, True),
        LENGTHS,
        (False, True),
        (False, True),
        ("output", "hidden", "cell", "everything", "last output", "part"),
    )
    cases = []
    for kind, layers, both, layout, given, projected, loss in axes:
        possible = (not projected or kind in ("LSTM", "explicit LSTM")) and (loss != "cell" or "LSTM" in kind)
        if possible:
            turn = len(cases)
            cases.append(Case(kind, layers, both, turn % 2 == 1, layout, given, projected, turn % 5 != 0, loss))
    return cases


def module_of(case: Case) -> nn.RNNBase:
    options = {
        "num_layers": case.layers,
        "bidirectional": case.bidirectional,
        "batch_first": case.batch_first,
        "bias": case.bias,
        "dtype": torch.float64,
    }
    if case.projected:
        options["proj_size"] = PROJECTED
    kind, _, variant = case.kind.partition(" ")
    if kind == "RNN":
        return nn.RNN(FEATURES, UNITS, nonlinearity=variant, **options)
    if kind == "explicit":
        return rnn_diag.nn.LSTM(FEATURES, UNITS, backend="explicit", **options)
    if kind == "MinimalGatedUnit":
        return rnn_diag.nn.Recurrent(MinimalGatedUnit, FEATURES, UNITS, **options)
    if kind in EQUATIONS:
        return rnn_diag.nn.Recurrent(EQUATIONS[kind], FEATURES, case.units, **options).eval()  # draws nothing
    if kind == "PeepholeLSTM":
        return rnn_diag.nn.PeepholeLSTM(FEATURES, UNITS, **options)
    return getattr(nn, kind)(FEATURES, UNITS, **options)


def loss_of(case: Case, output: Tensor, final: tuple[Tensor, ...]) -> Tensor:
    """Weigh what the loss goes through with fixed random numbers; `output` is time first and padded with zeros."""
    draw = torch.Generator().manual_seed(5)
    through_output, *through_state = (
        (torch.randn(value.shape, generator=draw, dtype=value.dtype) * value) for value in (output, *final)
    )
    parts = {
        "output": [through_output],
        "hidden": [through_state[0]],
        "cell": [through_state[-1]],
        "everything": [through_output, *through_state],
        "last output": [through_output[-1]],
        "part": [through_output[1:3, :, ::2], through_state[0][-1]],
    }
    return torch.stack([part.sum() for part in parts[case.loss]]).sum()


def errors_of(case: Case) -> dict[str, float]:
    """Return the largest difference of every field of every layer's trace from the unrolled reference."""
    module, lengths = module_of(case), LENGTHS[case.layout]
    inputs = torch.randn(max(lengths), len(lengths), FEATURES, dtype=torch.float64)
    state = _state(case, len(lengths))
    layers, output, final = unrolled.run(module, inputs, lengths, state)
    loss_of(case, output, final).backward()
    module.zero_grad()
    with record(module, engine=case.engine) as recording:
        loss_of(case, *_run(case, module, inputs, lengths, state)).backward()
    assert list(recording) == list(layers)
    errors: dict[str, float] = {}
    for suffix, reference in layers.items():
        trace = recording[suffix]
        assert trace.lengths.tolist() == lengths
        for field, error in {**_errors(trace, reference), **_split_errors(case, trace, reference)}.items():
            errors[field] = max(errors.get(field, 0.0), error)
    return errors


def _state(case: Case, batch: int) -> tuple[Tensor, ...]:
    directions = case.layers * (2 if case.bidirectional else 1)
    make = torch.randn if case.given_state else torch.zeros
    return tuple(make(directions, batch, size, dtype=torch.float64) for size in case.sizes)


def _run(
    case: Case, module: nn.RNNBase, inputs: Tensor, lengths: list[int], state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Call the module in the case's layout; return output and states as the reference gives them."""
    unbatched, packed = case.layout == "unbatched", case.layout.startswith("packed")
    given = tuple(part.squeeze(1) if unbatched else part for part in state)
    fed = inputs.squeeze(1) if unbatched else inputs.transpose(0, 1) if case.batch_first else inputs
    if packed:
        fed = pack_padded_sequence(fed, lengths, case.batch_first, enforce_sorted=case.layout == "packed")
    hx = None if not case.given_state else given if case.has_cell else given[0]
    output, final = module(fed, hx)
    final = tuple(final) if case.has_cell else (final,)
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output)[0]
    elif unbatched:
        output, final = output.unsqueeze(1), tuple(part.unsqueeze(1) for part in final)
    elif case.batch_first:
        output = output.transpose(0, 1)
    return output, final


def _errors(trace: Trace, reference: unrolled.Layer) -> dict[str, float]:
    preactivations = {key: torch.cat(value) for key, value in reference.preactivations.items()}
    preactivation_grads = {
        key: torch.cat([torch.zeros_like(z) if z.grad is None else z.grad for z in value])
        for key, value in reference.preactivations.items()
    }
    errors = {
        "hidden": _worst(trace.hidden, reference.hidden),
        "hidden_grad": _worst(trace.hidden_grad, _grads(reference.hidden)),
        "preactivations": _worst(torch.cat(list(trace.preactivations.values()), -1), preactivations),
        "preactivation_grad": _worst(torch.cat(list(trace.preactivation_grad.values()), -1), preactivation_grads),
        "padding": float(trace.hidden_grad[~trace.mask].abs().sum()),
        "fidelity": 1.0 if trace.fidelity is None else trace.fidelity,
    }
    if trace.gates:
        errors["gates"] = _worst(torch.cat(list(trace.gates.values()), -1), _gates(trace, reference))
    if trace.cell is not None and trace.cell_grad is not None:
        errors["cell"] = _worst(trace.cell, reference.cell)
        errors["cell_grad"] = _worst(trace.cell_grad, _grads(reference.cell))
    return errors


def _split_errors(case: Case, trace: Trace, reference: unrolled.Layer) -> dict[str, float]:
    """The reference's output is a copy of the state, whose gradient is the direct one where nothing else is used."""
    total = trace.hidden_grad_direct + trace.hidden_grad_recurrent
    errors = {"split": float((total - trace.hidden_grad).abs().max())}
    if case.loss in ("output", "last output", "cell"):
        errors["hidden_grad_direct"] = _worst(trace.hidden_grad_direct, _grads(reference.output))
    return errors


def _gates(trace: Trace, reference: unrolled.Layer) -> dict[tuple[int, int], Tensor]:
    if reference.gates:
        return reference.gates
    sigmoid = [gate.is_sigmoid for gate in trace.equations.gates]
    return {
        key: torch.cat([z.sigmoid() if soft else z.tanh() for z, soft in zip(value, sigmoid, strict=True)])
        for key, value in reference.preactivations.items()
    }


def _grads(tensors: dict[tuple[int, int], Tensor]) -> dict[tuple[int, int], Tensor]:
    return {key: torch.zeros_like(value) if value.grad is None else value.grad for key, value in tensors.items()}


def _worst(ours: Tensor, theirs: dict[tuple[int, int], Tensor]) -> float:
    keys = list(theirs)
    places = tuple(torch.tensor([key[axis] for key in keys]) for axis in (0, 1))
    return float((ours[places] - torch.stack([theirs[key] for key in keys]).detach()).abs().max())
