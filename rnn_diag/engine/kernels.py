"""Triton kernels written from the statements of a recurrence: all steps in one launch, or what lies between products.

Two loops over time, forwards and backwards, each in two forms. *persistent*: a program owns one sequence, holds
`W_hh` on the chip and takes the products itself, so that one launch runs all steps. *between*: the products are given,
and a program owns some units of some sequences; with one step a launch it stands between two matrix products.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from typing import Any

from rnn_diag.engine.elementwise import Blocks, Elementwise, ElementwiseStep

_IMPORTS = """\
import triton
import triton.language as tl
"""

_FUNCTIONS = """

@triton.jit
def sigmoid(z):
    return 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def tanh(z):
    square = z * z
    near_zero = z * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))))
    return tl.where(square < NEAR_ZERO, near_zero, 2.0 / (1.0 + tl.exp(-2.0 * z)) - 1.0)


"""
_numbers = count()


def has_triton() -> bool:
    """Whether kernels can be written here."""
    return find_spec("triton") is not None


def is_interpreted() -> bool:
    """Whether Triton runs kernels on the CPU, in Python, as tests want it."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@dataclass(frozen=True)
class Kernel:
    """A kernel and the order of its tensor arguments.

    Attributes:
        launch: Triton's function; its arguments are `tensors`, then sizes.
        tensors: Names of the tensors, in order.
        source: Its text: two recurrences with the same text do the same.
    """

    launch: Any
    tensors: tuple[str, ...]
    source: str


@lru_cache(maxsize=512)
def forward_kernel(
    step: ElementwiseStep,
    stored: tuple[str, ...],
    persistent: bool,
    masked: bool,
    biased: bool,
    keeps_hidden: bool = True,
    double: bool = False,
) -> Kernel:
    """Return the kernel of all steps forwards, or of what lies between the products.

    Its sizes: `steps, batch` and the constants `H`, `PADDED`, or `H`, `BLOCK`.

    Args:
        step: The recurrence.
        stored: Gates, pre-activations and kept values that are written, besides the states.
        persistent: Which form.
        masked: Whether there is padding, where states are held.
        biased: Whether the recurrent product has a bias.
        keeps_hidden: Whether hidden states are written; needless where they were given.
        double: Whether everything is computed in double precision.
    """
    return _compiled(_forward_source(step, stored, persistent, masked, biased, keeps_hidden), double)


@lru_cache(maxsize=512)
def backward_kernel(step: ElementwiseStep, persistent: bool, masked: bool, double: bool = False) -> Kernel:
    """Return the kernel of all steps backwards, or of what lies between the products.

    Its sizes: `steps, batch, rows` and the constants as in `forward_kernel`.

    Args:
        step: The recurrence.
        persistent: Which form.
        masked: Whether there is padding, past which gradients are handed on.
        double: Whether everything is computed in double precision.
    """
    return _compiled(_backward_source(step, persistent, masked), double)


@lru_cache(maxsize=256)
def _compiled(source: tuple[tuple[str, ...], str], double: bool) -> Kernel:
    names, body = source
    precision = (
        f"ACC = tl.constexpr(tl.float{64 if double else 32})\nNEAR_ZERO = tl.constexpr({1e-4 if double else 0.02})"
    )
    text = f"{_IMPORTS}\n{precision}\n{_FUNCTIONS}{body}"
    filename = f"<rnn_diag kernel {next(_numbers)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, filename, "exec"), namespace)  # ours, word for word: names of operations are from a closed table
    return Kernel(namespace["kernel"], names, text)


def _forward_source(
    step: ElementwiseStep, stored: tuple[str, ...], persistent: bool, masked: bool, biased: bool, keeps_hidden: bool
) -> tuple[tuple[str, ...], str]:
    states = ("emitted", "new_cell") if step.has_cell else ("emitted",)
    found = step.forward.only((*states, *stored) if keeps_hidden else (*states[1:], *stored))
    strides = "1", f"({step.blocks} * H)", "H"  # of the transpose, which a warp reads in one piece
    text = _Text()
    text.index(persistent)
    text.vectors(step, found)
    if biased:
        for k in range(step.blocks):
            text.per_unit(f"bias_{k}", "bias", k)
    if persistent:
        text.matrices(step.blocks, *strides)
        text.read("hidden", "initial_hidden", 1, "row")
    if step.has_cell:
        text.read("cell", "initial_cell", 1, "row")
    text.line("at = row")
    of_step = {"projected": ("projected", step.blocks)}
    if not persistent:
        of_step |= {"recurrent": ("recurrent", step.blocks), "hidden": ("previous_hidden", 1)}

    def read_step(at: str, prefix: str = "") -> None:
        for name, (tensor, width) in of_step.items():
            text.read(name, tensor, width, at, prefix)

    read_step("at")
    text.line("for t in range(steps):")
    text.deeper()
    many_steps = persistent or not keeps_hidden
    if many_steps:
        text.line("following = tl.minimum(at + batch, (steps - 1) * batch + row)")
        read_step("following", "next_")
    if persistent:
        text.products("recurrent", ("hidden",) * step.blocks)
    if biased:
        for k, name in enumerate(_block_names("recurrent", step.blocks)):
            text.line(f"{name} += bias_{k}")
    text.statements(found)
    kept = {"hidden": "emitted", "cell": "new_cell"} if step.has_cell else {"hidden": "emitted"}
    if not keeps_hidden:
        del kept["hidden"]
    if masked:
        text.line("valid = tl.load(mask + at, row < batch, other=0) != 0")
    for state, new in kept.items():
        (variable,) = found.outputs[new]
        text.line(f"new_{state} = tl.where(valid, {variable}, {state})" if masked else f"new_{state} = {variable}")
        text.write(f"{state}_out", (f"new_{state}",), "at")
        if persistent or state == "cell":
            text.line(f"{state} = new_{state}")
    for name in stored:
        text.write(f"{name}_out", found.outputs[name], "at")
    if many_steps:
        text.take_next({name: width for name, (_, width) in of_step.items()})
    text.line("at += batch")
    return text.kernel("steps, batch", persistent)


def _backward_source(step: ElementwiseStep, persistent: bool, masked: bool) -> tuple[tuple[str, ...], str]:
    found = step.backward
    of_step = {
        name: len(blocks)
        for name, blocks in found.inputs.items()
        if name not in step.extras and name not in ("emitted_grad", "cell_grad")
    }
    passes = "previous_hidden_grad" in found.outputs
    strides = "1", "H", "(H * H)"
    text = _Text()
    text.index(persistent)
    text.line("sequence = row % batch")
    text.vectors(step, found)
    if persistent:
        text.matrices(step.blocks, *strides)
    text.read("back", "back", 1, "row")
    if not persistent and (passes or masked):
        text.read("passed", "passed", 1, "row")
        text.line("back += passed")
    if step.has_cell:
        text.read("cell_back", "cell_back", 1, "row")
    text.line("at = (steps - 1) * batch + sequence")
    text.line("to = (steps - 1) * rows + row")

    def read_step(at: str, to: str, prefix: str = "") -> None:
        text.read("direct", "direct", 1, to, prefix)
        for name, width in of_step.items():
            text.read(name, name, width, at, prefix)

    read_step("at", "to")
    text.line("for s in range(steps):")
    text.deeper()
    if persistent:
        text.line("before_at = tl.maximum(at - batch, sequence)")
        text.line("before_to = tl.maximum(to - rows, row)")
        read_step("before_at", "before_to", "next_")
    text.line("total = direct + back")
    text.write("through_time", ("back",), "to")
    if masked:
        text.line("valid = tl.load(mask + at, row < rows, other=0) != 0")
    text.line("emitted_grad = " + ("tl.where(valid, total, 0.0)" if masked else "total"))
    if step.has_cell:
        text.line("cell_grad = " + ("tl.where(valid, cell_back, 0.0)" if masked else "cell_back"))
    text.statements(found)
    grads = ["projected_grad"] if step.same_grads else ["projected_grad", "recurrent_grad"]
    for name in [*grads, "total_cell_grad"] if step.has_cell else grads:
        text.write(name, found.outputs[name], "to")
    passed = found.outputs["previous_hidden_grad"][0] if passes else ""
    if persistent:
        parts = text.products("back_through", found.outputs["recurrent_grad"])
        text.line(f"back = {' + '.join(parts)}" + (f" + {passed}" if passes else ""))
        if masked:
            text.line("back = tl.where(valid, back, total)")
    elif passes or masked:
        text.line("passed = " + (f"tl.where(valid, {passed or '0.0'}, total)" if masked else passed))
    if step.has_cell:
        (cell,) = found.outputs["previous_cell_grad"]
        text.line("cell_back = " + (f"tl.where(valid, {cell}, cell_back)" if masked else cell))
    if persistent:
        text.take_next({"direct": 1, **of_step})
    text.line("at -= batch")
    text.line("to -= rows")
    text.shallower()
    if persistent:
        text.write("back", ("back",), "row")
    elif passes or masked:
        text.write("passed", ("passed",), "row")
    if step.has_cell:
        text.write("cell_back", ("cell_back",), "row")
    return text.kernel("steps, batch, rows", persistent)


def _block_names(name: str, width: int) -> Blocks:
    return (name,) if width == 1 else tuple(f"{name}_{k}" for k in range(width))


def _adder(blocks: int) -> str:
    left, right = (tuple(f"{side}{k}" for k in range(blocks)) for side in "ab")
    sums = ", ".join(f"{a} + {b}" for a, b in zip(left, right, strict=True))
    return f"@triton.jit\ndef added({', '.join(left + right)}):\n    return {sums}\n\n\n"


class _Text:
    """A kernel's body, line by line; it remembers which tensors it was told to read and write."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 1
        self._tensors: dict[str, None] = {}

    def line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def deeper(self) -> None:
        self._depth += 1

    def shallower(self) -> None:
        self._depth -= 1

    def index(self, persistent: bool) -> None:
        """Say which sequence `row` and which units `j` a program owns."""
        if persistent:
            self.line("row = tl.program_id(0)")
            self.line("j = tl.arange(0, PADDED)")
            self.line("inside = j < H")
        else:
            self.line("k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)")
            self.line("row = k // H")
            self.line("j = k % H")
            self.line("inside = row < ROWS")

    def vectors(self, step: ElementwiseStep, found: Elementwise) -> None:
        """Read the parameters outside the products."""
        for name, width in step.extras.items():
            for k, block in enumerate(_block_names(name, width) if name in found.inputs else ()):
                self.per_unit(block, name, k)

    def per_unit(self, name: str, tensor: str, block: int = 0) -> None:
        """Read a block of a vector `[k*H]`."""
        self._tensors[tensor] = None
        self.line(f"{name} = tl.load({tensor}_ptr + {block} * H + j, inside, other=0.0).to(ACC)")

    def matrices(self, blocks: int, unit_stride: str, column_stride: str, block_stride: str) -> None:
        """Read all blocks of `W_hh` or its transpose, to stay on the chip; neighbours read neighbouring units.

        Units are hidden behind a zero from Triton's analysis: it would give a thread several of them, not one and many
        columns of its row, which makes sums over columns and all that follows slower.
        """
        self.line("hidden_j = j ^ (steps >> 31)")
        self.line("within = inside[:, None] & inside[None, :]")
        self._tensors["weight"] = None
        for k in range(blocks):
            place = f"{k} * {block_stride} + hidden_j[None, :] * {column_stride} + hidden_j[:, None] * {unit_stride}"
            self.line(f"weight_{k} = tl.load(weight_ptr + {place}, within, other=0.0).to(ACC)")

    def products(self, name: str, vectors: Sequence[str]) -> Blocks:
        """Multiply every matrix by its vector; one reduction for all, since each one waits for the whole program."""
        results = _block_names(name, len(vectors))
        terms = ", ".join(f"{vector}[None, :] * weight_{k}" for k, vector in enumerate(vectors))
        if len(results) == 1:
            self.line(f"{name} = tl.sum({terms}, axis=1)")
        else:
            self.line(f"{', '.join(results)} = tl.reduce(({terms}), 1, added)")
        return results

    def read(self, name: str, tensor: str, width: int, at: str, prefix: str = "") -> None:
        """Read a value of one or more blocks at a row."""
        self._tensors[tensor] = None
        for k, block in enumerate(_block_names(name, width)):
            place = f"{tensor}_ptr + ({at} * {width} + {k}) * H + j"
            self.line(f"{prefix}{block} = tl.load({place}, inside, other=0.0).to(ACC)")

    def take_next(self, widths: dict[str, int]) -> None:
        """Take what was read ahead: memory answers while a step is computed."""
        for name, width in widths.items():
            for block in _block_names(name, width):
                self.line(f"{block} = next_{block}")

    def write(self, tensor: str, blocks: Sequence[str], at: str) -> None:
        """Write a value of one or more blocks at a row."""
        self._tensors[tensor] = None
        for k, block in enumerate(blocks):
            self.line(f"tl.store({tensor}_ptr + ({at} * {len(blocks)} + {k}) * H + j, {block}, inside)")

    def statements(self, found: Elementwise) -> None:
        """Write the recurrence's own statements."""
        for statement in found.statements:
            self.line(f"{statement.target} = {statement.expression}")

    def kernel(self, sizes: str, persistent: bool) -> tuple[tuple[str, ...], str]:
        """Return the names of the tensors and the whole function."""
        body = "\n".join(self._lines)
        if "mask +" in body:
            self._tensors["mask"] = None
            body = body.replace("tl.load(mask +", "tl.load(mask_ptr +")
        if not persistent:
            body = body.replace("row < ROWS", "row < rows" if "rows" in sizes else "row < batch")
        constants = "PADDED" if persistent else "BLOCK"
        arguments = ", ".join(f"{name}_ptr" for name in self._tensors)
        adder = _adder(body.count("[None, :] * weight_")) if "added" in body else ""
        head = f"def kernel({arguments}, {sizes}, H: tl.constexpr, {constants}: tl.constexpr):"
        return tuple(self._tensors), f"{adder}@triton.jit(do_not_specialize={sizes.split(', ')!r})\n{head}\n{body}\n"
