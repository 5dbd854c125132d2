"""What a recurrence is: the equations of one step, their adjoint and their Jacobian, elementwise between products."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rnn_diag.cells.gate import Extreme, Gate, Role, opposite
from rnn_diag.cells.product import Dense, Product
from rnn_diag.cells.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class State(NamedTuple):
    """What a recurrence carries from step to step: `hidden [*, B, P]` and, where it has one, `cell [*, B, C]`.

    `C` is `Equations.cell_size(H)`: `H`, or more where the memory has several parts, which stand side by side. Whatever
    else a state is, it is real and flat here: a complex one is its real and its imaginary parts, an image its pixels.
    """

    hidden: Tensor
    cell: Tensor | None = None

    def map(self, form: Callable[[Tensor], Tensor]) -> State:
        """Return the state with every part in another form."""
        return State(form(self.hidden), None if self.cell is None else form(self.cell))

    def at(self, t: int) -> State:
        """Return one step of a state that has an axis of time in front."""
        return self.map(lambda part: part[t])

    def joined(self) -> Float[Tensor, "*batch state"]:
        """Return the full state in one tensor, the hidden part first."""
        return self.hidden if self.cell is None else torch.cat((self.hidden, self.cell), dim=-1)

    def where(self, valid: Bool[Tensor, "batch one"], held: State) -> State:
        """Return this state where a step is valid and the one that is held elsewhere."""
        hidden = torch.where(valid, self.hidden, held.hidden)
        if self.cell is None or held.cell is None:
            return State(hidden)
        return State(hidden, torch.where(valid, self.cell, held.cell))


class Step(NamedTuple):
    """One step forward, before the projection that `proj_size` adds.

    Attributes:
        emitted: `[*, B, H]` the new hidden state (with a projection, what it is applied to).
        cell: `[*, B, C]` the new memory cell, or None.
        gates: One activation `[*, B, H]` for each of `Equations.gates`.
        preactivations: One `[*, B, H]` for each of `Equations.blocks`, before the nonlinearity.
        kept: What the adjoint needs besides.
    """

    emitted: Tensor
    cell: Tensor | None
    gates: tuple[Tensor, ...]
    preactivations: tuple[Tensor, ...]
    kept: tuple[Tensor, ...] = ()


class StepAdjoint(NamedTuple):
    """One step backward.

    Attributes:
        projected_grad: `[*, B, G*H]` gradient of the input product `x W_ih^T + b_ih`, without what was drawn.
        recurrent_grad: `[*, B, G*H]` gradient of the recurrent product `h W_hh^T + b_hh`.
        cell_grad: `[*, B, C]` total gradient of the new cell, or None.
        previous_cell_grad: `[*, B, C]` what flows on to the previous cell, or None.
        previous_hidden_grad: `[*, B, H]` what flows to the previous hidden state past the recurrent product, or None.
    """

    projected_grad: Tensor
    recurrent_grad: Tensor
    cell_grad: Tensor | None = None
    previous_cell_grad: Tensor | None = None
    previous_hidden_grad: Tensor | None = None


class Equations(ABC):
    """The equations of one recurrence.

    What mixes units is a product, taken for all steps at once where it can be: `projected = x W_ih^T + b_ih`,
    `recurrent = h W_hh^T + b_hh`, and the projection `W_hr`. Where input or state enter otherwise than by a matrix,
    `input_product` and `recurrent_product` say how. What is left is elementwise, or mixes units within a step, and is
    written once in each direction: `step` and `adjoint`. Tensors may carry any leading axes.
    """

    name: ClassVar[str]
    blocks: tuple[Gate, ...]
    """The row blocks of `weight_hh`, in torch's order."""
    has_cell: ClassVar[bool] = False
    fused: Callable[..., nn.RNNBase] | None = None
    """Torch's module whose kernel runs these equations, or None."""
    input_product: Product = Dense()
    """How the input enters: `weight_ih` is its weight."""
    recurrent_product: Product = Dense()
    """How the hidden state enters: `weight_hh` is its weight."""

    image_size: tuple[int, ...] = ()
    """Axes of a unit's own behind its channel: a layer takes images of this size, which are flat inside."""
    shows_tanh: ClassVar[bool] = True
    """Whether the hidden state shows the memory through a tanh, at whose ends it saturates; an LSTM does."""
    cell_parts: ClassVar[tuple[str, ...]] = ("cell",)
    """What the parts of the memory are called that stand side by side in `State.cell`."""
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Parameters beyond torch's, by name; words for axes: `hidden` (H), `half` (H/2), `rows` (G*H), `inputs` (I)."""
    hidden_is_bounded: bool = False
    """Whether no hidden state leaves [-1, 1] when the initial one is inside; a projection can lead out of it."""

    @staticmethod
    def of(given: Equations | type[Equations] | str) -> Equations:
        """Return equations given by an instance, a class that needs no arguments, or the dotted path of either.

        Raises:
            TypeError: If they are none.
            ValueError: If there is nothing at the path.

        Example:
            >>> Equations.of("rnn_diag.cells.GRUEquations").name
            'gru'
        """
        found = _at_path(given) if isinstance(given, str) else given
        if isinstance(found, type) and issubclass(found, Equations):
            found = found()
        if not isinstance(found, Equations):
            raise TypeError(
                f"equations={given!r}; expected an instance or a class of rnn_diag.cells.Equations, or its dotted path"
            )
        return found

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The blocks that gate something; a plain RNN's single block is its hidden state and gates nothing."""
        return self.blocks

    @property
    def by_role(self) -> dict[Role, str]:
        """The names of the blocks by what they do; those that declare no role are left out."""
        return {block.role: block.name for block in self.blocks if block.role is not None}

    @property
    def memory_gate(self) -> str | None:
        """The name of the sigmoid gate that keeps what was there, or None; `Gate.keeps_when` says at which extreme."""
        return next((gate.name for gate in self.gates if gate.keeps_when and gate.is_sigmoid), None)

    @property
    def harmful(self) -> Mapping[tuple[str, Extreme], str]:
        """What it means for a unit to be stuck at a gate's extreme, where that keeps the unit from its work.

        Derived from roles; a recurrence that knows better overrides it. An exponential gate has no end to be stuck at.

        Example:
            >>> from rnn_diag.cells import GRUEquations
            >>> GRUEquations().harmful["update", "open"]
            'nothing is written into the state'
        """
        memory = "memory" if self.has_cell else "state"
        meanings: dict[tuple[str, Extreme], str] = {}
        for gate in self.gates:
            if not gate.is_bounded:
                continue
            if gate.role is Role.SHOWS:
                meanings[gate.name, "shut"] = f"nothing of the {memory} is shown"
            if gate.writes_when:
                meanings[gate.name, opposite(gate.writes_when)] = f"nothing is written into the {memory}"
            if gate.keeps_when:
                lost = "wiped" if gate.role is Role.KEEPS else "overwritten"
                meanings[gate.name, opposite(gate.keeps_when)] = f"the {memory} is {lost} at every step"
        return meanings

    def block(self, name: str) -> Gate:
        """Return the block of that name.

        Raises:
            ValueError: If there is none.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise ValueError(f"block={name!r}; choices: {', '.join(block.name for block in self.blocks)}")

    def hidden_size(self, weights: Weights) -> int:
        """Return `H`, the units of a layer with these parameters."""
        return self.input_product.rows(weights.weight_ih) // len(self.blocks)

    def cell_size(self, hidden_size: int) -> int:
        """Return how many numbers the memory of a sequence has: a unit each for every part."""
        return hidden_size * len(self.cell_parts)

    def state_sizes(self, weights: Weights) -> tuple[int, ...]:
        """Return how many numbers each part of the state has: hidden and, where there is one, cell.

        Example:
            >>> from rnn_diag.cells import LSTMEquations
            >>> LSTMEquations().state_sizes(Weights(torch.zeros(20, 3), torch.zeros(20, 5)))
            (5, 5)
        """
        units = self.hidden_size(weights)
        hidden = units if weights.weight_hr is None else len(weights.weight_hr)
        return (hidden, self.cell_size(units)) if self.has_cell else (hidden,)

    def scanned(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor] | None:
        """Return `a` and `b` of a recurrence that is `s_t = a ⊙ s_{t-1} + b` in its memory, and nothing more.

        The memory is the cell, or without one the hidden state. `a` and `b` may be complex, of half its units: see
        `rnn_diag.cells.product.complex_of`. None where gates see the state, or it enters otherwise.
        """
        return None

    def shapes(self, rows: int, input_size: int, hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of torch's parameters, for inputs and hidden states of these sizes; `G*H` rows."""
        enters, feeds_back = self.input_product, self.recurrent_product
        return {
            "weight_ih": enters.shape(rows, input_size),
            "weight_hh": feeds_back.shape(rows, hidden),
            "bias_ih": (enters.bias_size(rows),),
            "bias_hh": (feeds_back.bias_size(rows),),
        }

    def zeros(self, weights: Weights, batch: int) -> State:
        """Return the state that a sequence starts from where none is given."""
        return State(*(weights.weight_ih.new_zeros(batch, size) for size in self.state_sizes(weights)))

    def drawn_size(self, hidden_size: int) -> int:
        """Return how many random numbers a step is given besides its features; see `draw`."""
        return 0

    @property
    def draws(self) -> bool:
        """Whether a step is given random numbers."""
        return self.drawn_size(1) > 0

    def draw(self, inputs: Tensor, hidden_size: int, training: bool) -> Tensor:
        """Return the random numbers of a whole call, `[T, B, drawn_size]`; in evaluation what stands for them.

        They are drawn once and follow the features of the inputs from there on: a sweep uses the very numbers of the
        call. A step finds them behind the rows of `projected`.
        """
        return inputs.new_empty(*inputs.shape[:-1], 0)

    def given(self, inputs: Tensor, hidden_size: int, training: bool = False) -> Tensor:
        """Return the inputs with what is drawn for them; themselves where nothing is."""
        if not self.draws:
            return inputs
        return torch.cat((inputs, self.draw(inputs, hidden_size, training)), dim=-1)

    def features(self, inputs: Tensor, weights: Weights) -> Tensor:
        """Return the inputs without what was drawn."""
        drawn = self.drawn_size(self.hidden_size(weights))
        return inputs[..., : inputs.shape[-1] - drawn] if drawn else inputs

    def projected(self, inputs: Tensor, weights: Weights) -> Float[Tensor, "*batch rows"]:
        """Return what the inputs give to every block, for any number of steps, and what was drawn behind it."""
        features = self.features(inputs, weights)
        product = self.input_product(features, weights.weight_ih, weights.bias_ih)
        return torch.cat((product, inputs[..., features.shape[-1] :]), dim=-1) if self.draws else product

    def recurrent(self, hidden: Tensor, weights: Weights) -> Float[Tensor, "*batch rows"]:
        """Return what the hidden state gives to every block."""
        return self.recurrent_product(hidden, weights.weight_hh, weights.bias_hh)

    def input_grad(self, projected_grad: Tensor, weights: Weights, features: int) -> Float[Tensor, "*batch features"]:
        """Return the gradient of the inputs from that of `projected`; zero for what was drawn."""
        drawn = self.drawn_size(self.hidden_size(weights))
        grad = self.input_product.transposed(projected_grad, weights.weight_ih, features - drawn)
        return pad(grad, (0, drawn)) if drawn else grad

    def previous_hidden_grad(self, adjoint: StepAdjoint, weights: Weights) -> Tensor:
        """Return what a step hands to the hidden state before it: through the product and past it."""
        hidden = self.state_sizes(weights)[0]
        through = self.recurrent_product.transposed(adjoint.recurrent_grad, weights.weight_hh, hidden)
        return through if adjoint.previous_hidden_grad is None else through + adjoint.previous_hidden_grad

    def log_kept(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the log of the share of the memory that a step keeps: here what its gate says.

        Raises:
            ValueError: If no sigmoid gate keeps the memory.
        """
        if self.memory_gate is None:
            raise ValueError(f"equations={self.name!r}; expected some in which a sigmoid gate keeps the memory")
        gate = self.block(self.memory_gate)
        return gate.log_kept(step.preactivations[self.blocks.index(gate)])

    def extra_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `extra_parameters`, by name.

        Example:
            >>> from rnn_diag.cells import PeepholeLSTMEquations
            >>> PeepholeLSTMEquations().extra_shapes(input_size=3, hidden_size=5)
            {'weight_ci': (5,), 'weight_cf': (5,), 'weight_co': (5,)}
        """
        sizes = {
            "hidden": hidden_size,
            "rows": len(self.blocks) * hidden_size,
            "inputs": input_size,
            "half": hidden_size // 2,
        }
        return {name: tuple(sizes[axis] for axis in axes) for name, axes in self.extra_parameters.items()}

    def initialise(self, weights: Weights) -> None:  # noqa: B027
        r"""Set in place what starts otherwise than from :math:`U(-1/\sqrt H, 1/\sqrt H)`, which was drawn: nothing."""

    def by_block(self, stacked: Tensor, dim: int) -> dict[str, Tensor]:
        """Return the blocks of a tensor whose axis `dim` holds all of them, by name; they are views."""
        parts = stacked.chunk(len(self.blocks), dim)
        return {block.name: part for block, part in zip(self.blocks, parts, strict=True)}

    def recurrent_maps(self, weights: Weights) -> dict[str, Tensor]:
        """Return the recurrent matrix of every block, by name: `W_hh,k [H, H]`; with `proj_size`, `W_hh,k · W_hr`.

        There are none where the hidden state enters by no product.
        """
        matrix = self.recurrent_product.matrix(weights.weight_hh, self.state_sizes(weights)[0])
        maps = {} if matrix is None else self.by_block(matrix, dim=0)
        return maps if weights.weight_hr is None else {name: w @ weights.weight_hr for name, w in maps.items()}

    @abstractmethod
    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the step that follows `previous`; `projected` and `recurrent` are `[*, B, G*H]`."""

    @abstractmethod
    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients of one step's arguments.

        Args:
            step: What `step` returned; in training without its pre-activations.
            previous: The state that it started from.
            emitted_grad: `[*, B, H]` total gradient of `step.emitted`.
            cell_grad: `[*, B, H]` gradient that reaches `step.cell` from later steps, or None.
            weights: The layer's parameters.
        """

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Float[Tensor, "*batch state state"]:
        """Return the Jacobian `∂s_t/∂s_{t-1}` of the full state, `s = h` or `s = (h, c)`; rows are the new state.

        Without a form of its own it is the adjoint of one unit at a time.
        """
        like = step.emitted
        emitted = _units(like) if weights.weight_hr is None else weights.weight_hr
        cell = None
        if step.cell is not None:
            of_cell = _units(step.cell)
            cell = torch.cat((of_cell.new_zeros(len(emitted), len(of_cell)), of_cell))
            emitted = torch.cat((emitted, emitted.new_zeros(len(of_cell), emitted.shape[1])))
        seeds = [None if part is None else _for_every_row(part, like) for part in (emitted, cell)]
        assert seeds[0] is not None
        found = self.adjoint(step, previous, seeds[0], seeds[1], weights)
        rows = self.previous_hidden_grad(found, weights)
        if found.previous_cell_grad is not None:
            rows = torch.cat((rows, found.previous_cell_grad), dim=-1)
        return rows.movedim(0, -2)

    def preactivation_grad(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> Tensor:
        """Return the gradient of every pre-activation, the blocks side by side: that of the input product.

        A recurrence that does more to its products than to add them overrides it. Arguments are those of
        `extra_weight_grads`.
        """
        return adjoint.projected_grad

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the gradients of `extra_parameters`, summed over all steps, which come at once: `[T, B, ·]`.

        Args:
            step: What `step` returned.
            previous: The states that the steps started from.
            adjoint: What `adjoint` returned.
            emitted_grad: Total gradient of `step.emitted`, zero at padding.
            weights: The layer's parameters.
        """
        raise NotImplementedError(f"{self.name} has extra parameters ({', '.join(weights.extra)}) without gradients")


def _units(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _for_every_row(seeds: Tensor, like: Tensor) -> Tensor:
    """Return one gradient `[S, *batch, n]` for each of `[S, n]`, with the batch of a step."""
    leading = like.shape[:-1]
    return seeds.view(len(seeds), *([1] * len(leading)), -1).expand(-1, *leading, -1)


def _at_path(path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"equations={path!r}; expected the dotted path of a class: {error}") from None
