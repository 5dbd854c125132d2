"""Two runs as numbers, without training: a tanh RNN whose gradient vanishes and an LSTM whose gradient arrives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rnn_diag.tb import kinds as tab

VANISHING, HEALTHY = "tanh_rnn", "lstm"


def profile(start: float, timesteps: int, wiggle: np.ndarray) -> np.ndarray:
    """Return median, p10 and p90 of log10 norms that go from `start` at the first timestep to -2 at the last."""
    median = np.linspace(start, -2.0, timesteps) + wiggle
    spread = 0.15 + 0.35 * (1 - np.linspace(0, 1, timesteps))
    return np.stack([median, median - spread, median + spread])


def wiggle(generator: np.random.Generator, timesteps: int) -> np.ndarray:
    steps = generator.normal(0, 0.12, timesteps)
    return np.convolve(steps, np.ones(5) / 5, mode="same")


def eigenvalues(generator: np.random.Generator, units: int, radius: float) -> np.ndarray:
    values = np.linalg.eigvals(generator.normal(size=(units, units)) / np.sqrt(units))
    return values * radius / np.abs(values).max()


def gate_maps(
    generator: np.random.Generator, means: dict[str, float], timesteps: int, units: int, stuck: int
) -> tuple[dict, dict]:
    """Return every gate over time and over units; `stuck` units of each are shut all the time."""
    over_time, over_units = {}, {}
    for gate, mean in means.items():
        activation = np.clip(mean + 0.1 * np.sin(np.arange(timesteps) / 9), 0, 1)
        shut = np.clip(0.05 + stuck / units + 0.3 * (0.5 - activation), 0, 1)
        over_time[gate] = np.stack([activation, shut, np.clip(activation - 0.6, 0, 1)])
        per_unit = np.clip(generator.normal(mean, 0.15, units), 0, 1)
        shut_units = np.clip(0.3 - per_unit, 0, 1)
        shut_units[generator.permutation(units)[:stuck]] = 1.0
        per_unit[shut_units == 1.0] = 0.01
        over_units[gate] = np.stack(
            [per_unit, shut_units, np.where(shut_units == 1.0, 0, np.clip(per_unit - 0.5, 0, 1))]
        )
    return over_time, over_units


def write_vanishing(log: object, steps: int = 120, timesteps: int = 200, units: int = 64) -> None:
    """A tanh recurrence whose radius shrinks as it trains; one step overflows."""
    generator = np.random.default_rng(1)
    base = eigenvalues(generator, units, 1.0)
    for index in range(steps):
        step, progress = index * 50, index / steps
        norms = profile(-6.0 - 5.0 * progress, timesteps, wiggle(generator, timesteps))
        norms[:, : timesteps // 20] -= 0.5
        if index == steps * 2 // 3:
            norms[0, : timesteps // 2] = np.nan
            norms[0, timesteps // 2 : timesteps * 3 // 4] = np.inf
        tab.write_gradients(log, "encoder.l0", step, norms, cell="rnn_tanh")
        if index % 5 == 0:
            write_slow_series(log, "encoder.l0", step, base * (0.95 - 0.25 * progress), units, -0.02 - 0.2 * progress)
            tab.write_influence(log, "encoder.l0", step, profile(-6.0 - 5.0 * progress, timesteps, 0)[:, ::-1])
            tab.write_horizon(log, "encoder.l0", step, [28 - 12 * progress, 20 - 9 * progress, 39 - 12 * progress])
        tab.write_cost(log, step, 14.0 + generator.normal(0, 1), 0.018)
    finding = {
        "severity": "critical",
        "layer": "encoder.l0",
        "title": "The gradient does not reach the beginning of the sequence.",
        "evidence": "At the first timestep it is 1e-9 of what it is at the last.",
        "advice": "Use a gated cell (LSTM, GRU), or an orthogonal recurrent matrix.",
    }
    tab.write_verdict(log, (steps - 1) * 50, [finding])


def write_healthy(log: object, steps: int = 120, timesteps: int = 200, units: int = 64) -> None:
    """An LSTM on the same task: the gradient keeps its size, a few units are stuck."""
    generator = np.random.default_rng(2)
    base = {gate: eigenvalues(generator, units, 1.0) for gate in ("forget", "candidate")}
    for index in range(steps):
        step, progress = index * 50, index / steps
        start = -4.2 + 1.9 * (1 - np.exp(-4 * progress))
        tab.write_gradients(
            log, "encoder.l0", step, profile(start, timesteps, wiggle(generator, timesteps)), cell="lstm"
        )
        means = {"input": 0.4, "forget": 0.6 + 0.3 * progress, "candidate": 0.5, "output": 0.55}
        over_time, over_units = gate_maps(generator, means, timesteps, units, stuck=int(6 * progress))
        tab.write_gates(log, "encoder.l0", step, over_time)
        if index % 5 == 0:
            tab.write_gate_units(log, "encoder.l0", step, over_units)
            for gate, values in base.items():
                write_slow_series(log, "encoder.l0", step, values * (0.9 + 0.15 * progress), units, -0.01, gate)
            write_weights(generator, log, "encoder.l0", step, progress, timesteps)
            tab.write_influence(log, "encoder.l0", step, profile(start, timesteps, 0)[:, ::-1])
            tab.write_horizon(log, "encoder.l0", step, [60 + 90 * progress, 40 + 80 * progress, 80 + 110 * progress])
        tab.write_cost(log, step, 31.0 + generator.normal(0, 2), 0.016)
    finding = {
        "severity": "ok",
        "layer": "encoder.l0",
        "title": "The gradient reaches the beginning of the sequence.",
        "evidence": "At the first timestep it is 0.5 of what it is at the last.",
    }
    tab.write_verdict(log, (steps - 1) * 50, [finding])


def write_weights(
    generator: np.random.Generator, log: object, layer: str, step: int, progress: float, timesteps: int
) -> None:
    gates = ("input", "forget", "candidate", "output")
    norms = {gate: [[1.0, 0.1, np.nan, 1e-3 * (1 + index)]] * 2 for index, gate in enumerate(gates)}
    tab.write_gate_weights(log, layer, step, norms)
    maps = {gate: generator.exponential(size=(2, 16, 32)) for gate in gates}
    tab.write_weight_maps(log, layer, step, maps, split=8)
    tab.write_contributions(log, layer, step, profile(-5.0, timesteps, 0), cosine=progress - 0.5)


def write_slow_series(
    log: object, layer: str, step: int, values: np.ndarray, units: int, exponent: float, matrix: str = "W_hh"
) -> None:
    tab.write_eigenvalues(log, layer, step, values, matrix=matrix)
    tab.write_singular_values(log, layer, step, np.linspace(1.6, 0.05, units) * np.abs(values).max(), matrix=matrix)
    tab.write_lyapunov(log, layer, step, exponent - 0.06 * np.arange(8))


def write_both(folder: Path, **sizes: int) -> None:
    """Write the two runs, each with its own writer, under `folder`."""
    from torch.utils.tensorboard import SummaryWriter

    for name, write in {VANISHING: write_vanishing, HEALTHY: write_healthy}.items():
        with SummaryWriter(str(folder / name)) as log:
            write(log, **sizes)


if __name__ == "__main__":
    write_both(Path(sys.argv[1]))
