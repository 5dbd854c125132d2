"""How exact and how fast recording is on a GPU: errors against float64 on the CPU, and times against a plain step.

Run `python benchmarks/gpu.py` on a machine with CUDA. `--device cpu --quick` goes through the same code anywhere, which
says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn
from rnn_diag.capture import record

PRECISIONS = {
    "float32": (False, None),
    "float32, TF32 on": (True, None),
    "bfloat16 autocast": (False, torch.bfloat16),
    "float16 autocast": (False, torch.float16),
}
DEVICE = torch.device("cuda")
LOSS_SCALE = 1024.0  # keeps float16 gradients from underflowing; taken out again


def configurations() -> list[dict]:
    """Return the grid: kinds × layers × directions × packing × projection."""
    grid = []
    kinds = ("LSTM", "GRU", "RNN", "explicit LSTM", "PeepholeLSTM")
    for kind, layers, bidirectional, packed, projection in itertools.product(
        kinds, (1, 2), (False, True), (False, True), (0, 24)
    ):
        if projection and kind != "LSTM":
            continue
        grid.append(dict(kind=kind, layers=layers, bidirectional=bidirectional, packed=packed, projection=projection))
    return grid


def build(kind: str, layers: int, bidirectional: bool, projection: int, **_: object) -> nn.Module:
    options = dict(num_layers=layers, bidirectional=bidirectional)
    if projection:
        options["proj_size"] = projection
    if kind == "explicit LSTM":
        return rnn_diag.nn.LSTM(32, 48, backend="explicit", **options)
    owner = rnn_diag.nn if kind == "PeepholeLSTM" else nn
    return getattr(owner, kind)(32, 48, **options)


def recorded(module: nn.Module, inputs: Tensor, packed: bool, engine: str, autocast: torch.dtype | None) -> dict:
    """Return gradients, gates and the self-check of every layer for one training step."""
    lengths = torch.linspace(5, len(inputs), inputs.shape[1]).int()
    fed = pack_padded_sequence(inputs, lengths, enforce_sorted=False) if packed else inputs
    context = nullcontext() if autocast is None else torch.autocast(inputs.device.type, autocast)
    with record(module, engine=engine) as recording, context:
        output, final = module(fed)
        data = output.data if packed else output
        last = final[0] if isinstance(final, tuple) else final
        loss = (
            data.float().pow(2).mean() + last.float().sum()
            if data.dtype != torch.float64
            else (data.pow(2).mean() + last.sum())
        )
        (loss * LOSS_SCALE).backward()
    return {name: (trace.hidden_grad.cpu().double() / LOSS_SCALE, trace.fidelity) for name, trace in recording.items()}


def errors() -> None:
    titles = ("configurations", "worst error", "median error", "worst self-check")
    print(f"{'precision':20} {'engine':9} " + " ".join(f"{title:>16}" for title in titles))
    for (label, (tf32, autocast)), engine in itertools.product(PRECISIONS.items(), ("explicit", "replay")):
        if DEVICE.type == "cpu" and autocast is not None:
            continue  # not every CPU has half-precision LSTM kernels
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        found, checks = [], []
        for seed, options in enumerate(configurations()):
            torch.manual_seed(seed)
            module = build(**options)
            inputs = torch.randn(40, 6, 32)
            reference = recorded(copy.deepcopy(module).double(), inputs.double(), options["packed"], "explicit", None)
            ours = recorded(module.to(DEVICE), inputs.to(DEVICE), options["packed"], engine, autocast)
            for name, (grad, fidelity) in ours.items():
                exact = reference[name][0]
                found.append(float((grad - exact).norm() / exact.norm()))
                checks.append(float("nan") if fidelity is None else fidelity)
        middle = sorted(found)[len(found) // 2]
        numbers = f"{len(found):16} {max(found):16.1e} {middle:16.1e} {max(checks):16.1e}"
        print(f"{label:20} {engine:9} {numbers}")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def median_ms(step: Callable[[], object], repeats: int = 15) -> float:
    for _ in range(3):
        step()
    found = []
    for _ in range(repeats):
        wait()
        begin = time.perf_counter()
        step()
        wait()
        found.append((time.perf_counter() - begin) * 1e3)
    return sorted(found)[len(found) // 2]


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def plain_step(module: nn.Module, inputs: Tensor) -> None:
    module(inputs)[0].pow(2).mean().backward()
    module.zero_grad()


def recorded_step(module: nn.Module, inputs: Tensor, engine: str, sequences: int | None, read: bool) -> None:
    with record(module, sequences=sequences, engine=engine) as recording:
        plain_step(module, inputs)
    if read:
        for trace in recording.values():
            trace.hidden_grad.norm(dim=-1)


def times(lengths: tuple[int, ...]) -> None:
    choices = list(itertools.product(("explicit", "replay"), (8, None)))
    titles = " ".join(f"{engine + ' ' + str(sequences or 'all'):>14}" for engine, sequences in choices)
    print(f"\n{'layer':28} {'plain ms':>9} {'recorded':>9} {titles}")
    for kind, steps in itertools.product(("LSTM", "GRU"), lengths):
        module = getattr(nn, kind)(256, 512, num_layers=2).to(DEVICE)
        inputs = torch.randn(steps, 64, 256, device=DEVICE)
        base = median_ms(partial(plain_step, module, inputs))
        seen = median_ms(partial(recorded_step, module, inputs, "auto", 8, read=False)) / base
        ratios = [median_ms(partial(recorded_step, module, inputs, *choice, read=True), 5) / base for choice in choices]
        label = f"2 × {kind} 512, T={steps}, B=64"
        print(f"{label:28} {base:9.1f} {seen:8.2f}x " + " ".join(f"{ratio:13.2f}x" for ratio in ratios))


def generator_state() -> Tensor:
    return torch.cuda.get_rng_state() if DEVICE.type == "cuda" else torch.get_rng_state()


def untouched() -> None:
    """Twenty steps with dropout, recorded and not, give the same bits."""
    ends = []
    for recording in (False, True):
        torch.manual_seed(0)
        model = nn.GRU(16, 32, num_layers=2, dropout=0.3).to(DEVICE)
        optimizer = torch.optim.Adam(model.parameters())
        losses = []
        for _ in range(20):
            with (
                record(model, sequences=4) if recording else nullcontext() as seen,
                torch.autocast(DEVICE.type, torch.bfloat16),
            ):
                loss = model(torch.randn(20, 8, 16, device=DEVICE))[0].float().pow(2).mean()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        ends.append((losses, [p.detach().cpu() for p in model.parameters()], generator_state()))
    (a, u, r), (b, v, s) = ends
    same = a == b and all(torch.equal(x, y) for x, y in zip(u, v, strict=True)) and torch.equal(r, s)
    print(f"\n20 steps, bfloat16 autocast, dropout: bit-identical with recording: {same}")
    print("  coverage:", seen.coverage[0])
    with record(model, exact_dropout=True) as exact:
        model(torch.randn(20, 8, 16, device=DEVICE))[0].pow(2).mean().backward()
    print("  exact_dropout=True, self-check:", [f"{trace.fidelity:.1e}" for trace in exact.values()])


def main() -> None:
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="short sequences, no table of times")
    arguments = parser.parse_args()
    DEVICE = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(torch.__version__, name, "cuDNN", torch.backends.cudnn.version())
    untouched()
    errors()
    times((16,) if arguments.quick else (128, 512))


if __name__ == "__main__":
    main()
