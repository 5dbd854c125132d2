"""Runs over time captured as CUDA graphs: one launch for all steps; cached by shape and bounded in memory.

A graph reads and writes fixed memory. What a run returns lives in that memory, so a graph is replayed only when nobody
holds a result of its last run; otherwise another is captured, or, where memory is short, the run is not replayed.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.engine import Engine, LayerGrads
from rnn_diag.engine.precision import float32_products
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled

Run = Callable[[Sequence[Tensor]], list[Tensor]]
"""What is captured: from tensors to tensors, without a look at a value."""
Capture = Callable[[Run, Sequence[Tensor]], tuple[list[Tensor], Callable[[], None]]]
"""Returns the results of a run, and what fills them anew."""


def capture_on_device(run: Run, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:
    """Capture a run as a CUDA graph, after one run to warm up, on a stream of its own; no random number is drawn."""
    device = inputs[0].device
    stream = _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        if HAS_POOLS:
            _hold_workspace(device)
        run(inputs)
        stream.synchronize()
        if not HAS_POOLS:  # then products take a workspace within the graph's own memory
            torch._C._cuda_clearCublasWorkspaces()
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            outputs = run(inputs)
        finally:
            graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)
    return outputs, graph.replay


@dataclass
class _Graph:
    """One captured run with its memory; inputs that are another graph's results are not held: it would look in use."""

    inputs: list[Tensor | None]
    outputs: list[Tensor]
    replay: Callable[[], None]
    held: list[int]
    followers: dict[Hashable, _Shape] = field(default_factory=dict)
    """Runs that read this graph's results where they are."""

    @property
    def is_free(self) -> bool:
        """Whether nobody outside holds a result."""
        return _holders(self.outputs) == self.held

    @property
    def bytes(self) -> int:
        """Memory of the graph and of those that follow it."""
        own = {_memory(t): t.untyped_storage().nbytes() for t in (*self.inputs, *self.outputs) if t is not None}
        return sum(own.values()) + sum(graph.bytes for shape in self.followers.values() for graph in shape.graphs)

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Replay on new inputs."""
        pairs = [(own, given) for own, given in zip(self.inputs, inputs, strict=True) if own is not None]
        torch._foreach_copy_([own for own, _ in pairs], [given for _, given in pairs])
        self.replay()
        return [output.detach() for output in self.outputs]


@dataclass
class _Shape:
    """All graphs of one kind of run, and how often it was asked for."""

    seen: int = 0
    failed: bool = False
    graphs: list[_Graph] = field(default_factory=list)


class GraphCache:
    """Captured runs, by what they do and to which shapes.

    Args:
        share: Most memory that graphs may hold, as a share of the device's.
        max_bytes: The same in bytes; takes the place of `share`.
        capture: How a run is captured.
    """

    def __init__(
        self, share: float = 0.125, max_bytes: int | None = None, capture: Capture = capture_on_device
    ) -> None:
        self.share = share
        self.max_bytes = max_bytes
        self._capture = capture
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()
        self._sources: dict[int, _Graph] = {}
        self._last_stream: dict[torch.device, Any] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return sum(len(shape.graphs) for shape in self._all())

    @property
    def bytes(self) -> int:
        """Memory that all graphs hold."""
        return sum(graph.bytes for shape in self._shapes.values() for graph in shape.graphs)

    def clear(self) -> None:
        """Forget all graphs; results that are still held stay valid."""
        with self._lock:
            self._shapes.clear()
            self._sources.clear()

    def __call__(self, key: Hashable, run: Run, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return `run(inputs)`, from the second time on by replaying a graph.

        Args:
            key: What the run does, beyond the shapes and dtypes of its inputs.
            run: Reads no value and draws no number.
            inputs: All on one device; results of an earlier call are read where they are, others are copied.
        """
        device = inputs[0].device
        if _is_capturing(device) or (device.type != "cuda" and self._capture is capture_on_device):
            return run(inputs)
        with self._lock:
            sources = [self._sources.get(_memory(t)) for t in inputs]
            source = next((graph for graph in sources if graph is not None), None)
            pinned = [graph is not None and graph is source for graph in sources]
            shapes = tuple([(t.shape, t.dtype, pin) for t, pin in zip(inputs, pinned, strict=True)])
            shape = self._shape((key, device, shapes), source)
            shape.seen += 1
            graph = self._graph(shape, run, inputs, pinned, source) if shape.seen > (source is None) else None
            if graph is None:
                return run(inputs)
            self._wait_for_last_replay(device)
            return graph.run(inputs)

    def _all(self) -> Iterator[_Shape]:
        for shape in self._shapes.values():
            yield shape
            for graph in shape.graphs:
                yield from graph.followers.values()

    def _shape(self, key: Hashable, source: _Graph | None) -> _Shape:
        if source is not None:
            return source.followers.setdefault(key, _Shape())
        shape = self._shapes.setdefault(key, _Shape())
        self._shapes.move_to_end(key)
        if len(self._shapes) > _MOST_SHAPES:
            self._drop(next(iter(self._shapes)))
        return shape

    def _graph(
        self, shape: _Shape, run: Run, inputs: Sequence[Tensor], pinned: list[bool], source: _Graph | None
    ) -> _Graph | None:
        """Return a graph of the shape that nobody reads from, a new one if need be, or None where there is no room."""
        free = next((graph for graph in shape.graphs if graph.is_free), None)
        if free is not None or shape.failed:
            return free
        if not self._make_room(_estimate(shape, inputs, pinned), inputs[0].device, shape):
            return None
        before = [] if source is None else _holders(source.outputs)
        own = [t.detach() if pin else t.clone() for t, pin in zip(inputs, pinned, strict=True)]
        try:
            outputs, replay = self._capture(run, own)
        except Exception as error:  # a faster way never ends a run
            shape.failed = True
            warnings.warn(
                f"a run could not be captured as a CUDA graph and is launched step by step: {error}", stacklevel=2
            )
            return None
        kept = [None if pin else t for t, pin in zip(own, pinned, strict=True)]
        del own
        if source is not None:
            after = _holders(source.outputs)
            source.held = [held + b - a for held, a, b in zip(source.held, before, after, strict=True)]
        graph = _Graph(kept, outputs, replay, _holders(outputs))
        shape.graphs.append(graph)
        if source is None:
            self._sources |= {_memory(output): graph for output in outputs}
        return graph

    def _make_room(self, wanted: int, device: torch.device, keep: _Shape) -> bool:
        most = self.max_bytes
        if most is None:
            most = int(self.share * torch.cuda.get_device_properties(device).total_memory)
        for key in list(self._shapes):
            if wanted > most or self.bytes + wanted <= most:
                break
            if self._shapes[key] is not keep and all(graph.is_free for graph in self._shapes[key].graphs):
                self._drop(key)
        return self.bytes + wanted <= most

    def _drop(self, key: Hashable) -> None:
        for graph in self._shapes.pop(key).graphs:
            for output in graph.outputs:
                self._sources.pop(_memory(output), None)

    def _wait_for_last_replay(self, device: torch.device) -> None:
        """Let a replay on another stream wait for the one before: the products of all graphs share a workspace."""
        if device.type == "cuda":
            stream = torch.cuda.current_stream(device)
            last = self._last_stream.setdefault(device, stream)
            if last != stream:
                stream.wait_stream(last)
                self._last_stream[device] = stream


_MOST_SHAPES = 256
GRAPHS = GraphCache()
"""The graphs of this process."""
_streams: dict[torch.device, Any] = {}


def _stream(device: torch.device) -> Any:
    """Return the stream on which runs are captured; products keep one workspace for it."""
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    return _streams[device]


HAS_POOLS = hasattr(torch.cuda, "use_mem_pool")
"""From torch 2.6 on memory can be taken from a pool of one's own."""
_workspaces: dict[torch.device, Any] = {}


def _hold_workspace(device: torch.device) -> None:
    """Let products on this thread and stream take their workspace from memory that is never given back.

    A graph writes to the workspace that its products had when it was captured. cuBLAS's workspaces can be freed at any
    time (`torch._C._cuda_clearCublasWorkspaces`: Lightning does so after every fit), and what is freed goes to others.
    In a pool of ours it goes to the next workspace, and its addresses stay valid.
    """
    pool = _workspaces.setdefault(device, torch.cuda.MemPool())
    with torch.cuda.use_mem_pool(pool, device):
        square = torch.zeros(8, 8, device=device)
        torch.addmm(square[0], torch.mm(square, square), square)


def _is_capturing(device: torch.device) -> bool:
    return torch.compiler.is_compiling() or (device.type == "cuda" and torch.cuda.is_current_stream_capturing())


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _holders(tensors: Sequence[Tensor]) -> list[int]:
    """Return how many hold each tensor's memory."""
    return [torch._C._storage_Use_Count(tensor.untyped_storage()._cdata) for tensor in tensors]


def _estimate(shape: _Shape, inputs: Sequence[Tensor], pinned: list[bool]) -> int:
    """Return how much memory another graph takes; what the first one takes is a guess."""
    if shape.graphs:
        return shape.graphs[0].bytes
    return 8 * sum(t.nbytes for t, pin in zip(inputs, pinned, strict=True) if not pin)


@dataclass(frozen=True)
class Graphed(Engine):
    """Another engine, replayed; what it returns lives in memory of a graph.

    Attributes:
        engine: What is captured.
        key: What tells it from other engines and recurrences.
        tf32: Whether float32 products may be taken in TF32.
        graphs: Where its graphs are kept.
    """

    engine: Engine
    key: Hashable
    tf32: bool = False
    graphs: GraphCache = GRAPHS
    reuses_memory: ClassVar[bool] = True

    @torch.no_grad()
    def unroll(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None = None,
        keep_preactivations: bool = True,
    ) -> Unrolled:
        """Run forwards."""
        layout = _Layout(weights, initial, mask)

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            rest = iter(tensors)
            inputs, (weights, initial, mask) = next(rest), layout.parsed(rest)
            ran = self.engine.unroll(equations, weights, inputs, initial, mask, keep_preactivations)
            steps = ran.steps
            states = [ran.hidden] if ran.cell is None else [ran.hidden, ran.cell]
            return [*states, *steps.gates, *steps.preactivations, *steps.kept]

        found = self._run(("unroll", keep_preactivations), run, [inputs, *layout.flat(weights, initial, mask)])
        states = 2 if equations.has_cell else 1
        gates = states + len(equations.gates)
        blocks = gates + (len(equations.blocks) if keep_preactivations else 0)
        hidden, cell = found[0], found[1] if equations.has_cell else None
        steps = Step(hidden, cell, tuple(found[states:gates]), tuple(found[gates:blocks]), tuple(found[blocks:]))
        return Unrolled(initial, hidden, cell, steps, mask, inputs)

    @torch.no_grad()
    def sweep(
        self,
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        """Run backwards."""
        ran = _Ran(equations, weights, unrolled, final_grad)

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            rest = iter(tensors)
            direct, (weights, unrolled, final_grad) = next(rest), ran.parsed(rest)
            swept = self.engine.sweep(equations, weights, unrolled, direct, final_grad)
            found = [swept.hidden_grad, swept.hidden_grad_recurrent, swept.projected_grad, swept.recurrent_grad]
            cells = [] if swept.cell_grad is None else [swept.cell_grad]
            return [*found, *cells, *(grad for grad in swept.initial if grad is not None)]

        tensors = [hidden_grad_direct, *ran.flat(weights, unrolled, final_grad)]
        total, through, projected, recurrent, *cells = self._run(("sweep", ran.key), run, tensors)
        cell_grad, initial = (cells[0], cells[1:]) if equations.has_cell else (None, cells)
        return Swept(total, through, cell_grad, projected, recurrent, State(*initial), hidden_grad_direct)

    @torch.no_grad()
    def layer_grads(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State,
        inputs_need_grad: bool,
    ) -> LayerGrads:
        """Return gradients in memory of their own: a parameter's outlives the next replay."""
        ran = _Ran(equations, weights, unrolled, final_grad)
        names = tuple(weights.present())

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            inputs, direct, *others = tensors
            weights, unrolled, final = ran.parsed(iter(others))
            assert final is not None
            grads = self.engine.layer_grads(equations, weights, inputs, unrolled, direct, final, inputs_need_grad)
            given = [] if grads.inputs is None else [grads.inputs]
            return [*given, *(grad for grad in grads.initial if grad is not None), *(grads.weights[n] for n in names)]

        tensors = [inputs, hidden_grad_direct, *ran.flat(weights, unrolled, final_grad)]
        found = _copies(self._run(("layer_grads", ran.key, inputs_need_grad), run, tensors))
        inputs_grad = found.pop(0) if inputs_need_grad else None
        states = 2 if equations.has_cell else 1
        return LayerGrads(inputs_grad, State(*found[:states]), dict(zip(names, found[states:], strict=True)))

    def _run(self, key: Hashable, run: Run, tensors: Sequence[Tensor]) -> list[Tensor]:
        def precisely(tensors: Sequence[Tensor]) -> list[Tensor]:
            with float32_products(self.tf32), torch.autocast(tensors[0].device.type, enabled=False):
                return run(tensors)

        return self.graphs((self.key, self.tf32, key), precisely, tensors)


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    copies = [torch.empty_like(tensor) for tensor in tensors]
    torch._foreach_copy_(copies, tensors)
    return copies


class _Layout:
    """Where weights, initial state and mask stand in a flat list of tensors, none of which is held."""

    def __init__(self, weights: Weights, initial: State, mask: Tensor | None) -> None:
        self._names = tuple(weights.present())
        self._states = sum(state is not None for state in initial)
        self._masked = mask is not None

    @staticmethod
    def flat(weights: Weights, initial: State, mask: Tensor | None) -> list[Tensor]:
        """Return the list."""
        states = [state for state in initial if state is not None]
        return [*weights.present().values(), *states, *([] if mask is None else [mask])]

    def parsed(self, tensors: Iterator[Tensor]) -> tuple[Weights, State, Tensor | None]:
        """Take what `flat` put into a list off its front."""
        weights = Weights.from_names({name: next(tensors) for name in self._names})
        initial = State(*(next(tensors) for _ in range(self._states)))
        return weights, initial, next(tensors) if self._masked else None


class _Ran:
    """Where weights, what a layer went through and gradients of its last state stand in a flat list of tensors."""

    def __init__(self, equations: Equations, weights: Weights, unrolled: Unrolled, final_grad: State | None) -> None:
        self._layout = _Layout(weights, unrolled.initial, unrolled.mask)
        self._final = tuple(grad is not None for grad in final_grad or ())
        self._gates, self._has_cell = len(unrolled.steps.gates), equations.has_cell
        self.key = self._final, self._gates

    def flat(self, weights: Weights, unrolled: Unrolled, final_grad: State | None) -> list[Tensor]:
        """Return the list."""
        steps, states = unrolled.steps, (unrolled.hidden, unrolled.cell)
        given = self._layout.flat(weights, unrolled.initial, unrolled.mask)
        return [*given, *(t for t in (*(final_grad or ()), *states) if t is not None), *steps.gates, *steps.kept]

    def parsed(self, tensors: Iterator[Tensor]) -> tuple[Weights, Unrolled, State | None]:
        """Take what `flat` put into a list off its front, to the end."""
        weights, initial, mask = self._layout.parsed(tensors)
        final = [next(tensors) if there else None for there in self._final]
        hidden, cell = next(tensors), next(tensors) if self._has_cell else None
        step = Step(hidden, cell, tuple(next(tensors) for _ in range(self._gates)), (), tuple(tensors))
        unrolled = Unrolled(initial, hidden, cell, step, mask)
        return weights, unrolled, State(*final) if final else None  # type: ignore[arg-type]
