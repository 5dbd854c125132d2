from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor

from rnn_diag.diagnostics.initial_spectrum import initial_expectations
from rnn_diag.diagnostics.spectrum import recurrent_spectrum
from tests.reference.random_layers import random_trace


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def rotation(angle: float) -> Tensor:
    return matrix([math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)])


def default_initialised(units: int) -> Tensor:
    return (2 * torch.rand(units, units, dtype=torch.float64) - 1) / math.sqrt(units)


def test_powers_of_a_jordan_block_grow_nine_steps_although_its_radius_is_below_one() -> None:
    spectrum = recurrent_spectrum(matrix([0.9, 1.0], [0.0, 0.9]))
    assert spectrum.spectral_radius == 0.9
    a, b = 0.9**9, 9 * 0.9**8  # W^9 = [[a, b], [0, a]]
    assert spectrum.transient_growth == pytest.approx((b + math.sqrt(b * b + 4 * a * a)) / 2, rel=1e-14)
    assert spectrum.transient_step == 9
    assert spectrum.henrici == pytest.approx(1.0, abs=1e-12)
    assert spectrum.henrici_normalised == pytest.approx(1 / math.sqrt(2.62), abs=1e-12)
    assert spectrum.numerical_radius == pytest.approx(1.4, abs=1e-12)  # a disk of radius 1/2 about 0.9


def test_a_rotation_is_normal_and_keeps_every_length() -> None:
    spectrum = recurrent_spectrum(rotation(0.3))
    assert spectrum.eigenvalues.angle().abs().tolist() == pytest.approx([0.3, 0.3])
    assert spectrum.eigenvalues.imag.sum().item() == pytest.approx(0, abs=1e-15)
    assert spectrum.spectral_radius == pytest.approx(1, abs=1e-14)
    assert spectrum.singular_values.tolist() == pytest.approx([1, 1])
    assert spectrum.henrici == pytest.approx(0, abs=1e-7)
    assert spectrum.numerical_radius == pytest.approx(1, abs=1e-12)
    assert (spectrum.transient_growth, spectrum.transient_step) == (1.0, 0)


def test_a_nilpotent_shift_departs_from_normality_by_its_whole_norm() -> None:
    size = 6
    spectrum = recurrent_spectrum(torch.diag(torch.ones(size - 1, dtype=torch.float64), 1))
    assert spectrum.spectral_radius == 0
    assert spectrum.henrici_normalised == 1.0
    assert spectrum.numerical_radius == pytest.approx(math.cos(math.pi / (size + 1)), abs=1e-12)


def test_powers_of_a_matrix_above_radius_one_grow_without_end() -> None:
    spectrum = recurrent_spectrum(matrix([1.1]))
    assert spectrum.transient_growth == math.inf
    assert spectrum.transient_step is None


def test_growth_is_one_for_a_contraction() -> None:
    spectrum = recurrent_spectrum(matrix([0.5, 0.0], [0.0, -0.9]))
    assert (spectrum.transient_growth, spectrum.transient_step) == (1.0, 0)
    assert spectrum.eigenvalues.real.tolist() == [-0.9, 0.5]


def test_growth_equals_a_search_over_all_powers() -> None:
    w = 0.9 * torch.triu(torch.randn(8, 8, dtype=torch.float64))
    w.diagonal().clamp_(-0.95, 0.95)
    norms = [torch.linalg.matrix_norm(torch.linalg.matrix_power(w, k), 2).item() for k in range(400)]
    spectrum = recurrent_spectrum(w)
    assert spectrum.transient_growth == pytest.approx(max(norms), rel=1e-9)
    assert spectrum.transient_step == norms.index(max(norms))


def test_default_initialisation_at_256_units_has_the_known_radius_and_norm() -> None:
    spectra = [recurrent_spectrum(default_initialised(256), max_power=8) for _ in range(2)]
    radius = sum(s.spectral_radius for s in spectra) / 2
    norm = sum(s.spectral_norm for s in spectra) / 2
    expected = initial_expectations(256)
    assert radius == pytest.approx(0.603, abs=0.02)  # one sample scatters by 0.015
    assert norm == pytest.approx(1.141, abs=0.02)  # and by 0.011
    assert expected.spectral_radius == pytest.approx(0.603, abs=0.01)
    assert expected.spectral_norm == pytest.approx(1.141, abs=0.005)
    assert spectra[0].henrici_normalised == pytest.approx(expected.henrici_normalised, abs=0.02)
    assert torch.linalg.matrix_norm(default_initialised(256)).item() == pytest.approx(expected.frobenius_norm, rel=0.02)


def test_each_gate_has_its_own_spectrum() -> None:
    trace = random_trace("projected_lstm", [3])
    spectra = recurrent_spectrum(trace.recurrent_weights)
    assert list(spectra) == ["input", "forget", "candidate", "output"]
    whole = trace.weights.weight_hh @ trace.weights.weight_hr
    forget = whole[3:6]
    expected = torch.linalg.eigvals(forget).abs().max().item()
    assert spectra["forget"].spectral_radius == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_and_single_precision_weights_are_measured_in_double(dtype: torch.dtype) -> None:
    spectrum = recurrent_spectrum(matrix([0.5, 1.0], [0.0, 0.5]).to(dtype))
    assert spectrum.singular_values.dtype == torch.float64
    assert spectrum.spectral_radius == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_matrix_with_a_non_finite_entry_has_a_spectrum_of_nan(value: float) -> None:
    spectrum = recurrent_spectrum(matrix([0.5, value], [0.0, 0.5]))
    assert math.isnan(spectrum.spectral_radius)
    assert math.isnan(spectrum.transient_growth)
    assert spectrum.singular_values.isnan().all()


def test_what_is_read_later_is_of_the_matrix_as_it_was() -> None:
    weights = matrix([0.9, 1.0], [0.0, 0.9])
    spectrum = recurrent_spectrum(weights)
    weights.zero_()
    assert spectrum.transient_step == 9
    assert spectrum.numerical_radius == pytest.approx(1.4, abs=1e-12)


def test_a_spectrum_can_be_pickled_before_and_after_all_of_it_is_read() -> None:
    spectrum = recurrent_spectrum(matrix([0.9, 1.0], [0.0, 0.9]))
    before = pickle.loads(pickle.dumps(spectrum))
    assert spectrum.transient_step == before.transient_step == pickle.loads(pickle.dumps(spectrum)).transient_step


def test_a_matrix_in_lists_is_refused() -> None:
    with pytest.raises(TypeError, match="'weights' is of type list; expected a tensor, or a mapping of them by name"):
        recurrent_spectrum([[0.5, 0.0], [0.0, 0.5]])  # type: ignore[call-overload]


def test_the_stack_of_all_gates_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'weights' has shape \(4, 1\); expected a square matrix"):
        recurrent_spectrum(torch.ones(4, 1))


def test_iterative_values_approach_the_exact_ones_from_below() -> None:
    w = default_initialised(300)
    w[0, 1] += 3.0  # not normal
    exact, iterative = recurrent_spectrum(w), recurrent_spectrum(w, exact_up_to=100)
    assert exact.is_exact
    assert not iterative.is_exact
    assert iterative.spectral_norm == pytest.approx(exact.spectral_norm, rel=1e-6)
    assert iterative.spectral_radius == pytest.approx(exact.spectral_radius, rel=0.05)
    lower, upper = iterative.spectral_radius_bounds
    assert lower <= exact.spectral_radius <= upper < 1.05 * lower
    assert exact.spectral_radius_bounds == (exact.spectral_radius, exact.spectral_radius)
    assert iterative.numerical_radius == pytest.approx(exact.numerical_radius, rel=0.02)
    assert iterative.numerical_radius <= exact.numerical_radius * (1 + 1e-9)
    assert iterative.transient_growth == pytest.approx(exact.transient_growth, rel=0.01)
    assert math.isnan(iterative.henrici)


def test_a_large_nilpotent_matrix_has_no_spectral_radius_however_its_krylov_space_sees_it() -> None:
    spectrum = recurrent_spectrum(0.9 * torch.diag(torch.ones(599, dtype=torch.float64), 1))
    assert not spectrum.is_exact
    assert spectrum.eigenvalues[0].abs() > 0.8  # of a matrix that differs by its residual
    assert spectrum.spectral_radius == 0
    assert spectrum.spectral_radius_bounds == (0.0, 0.0)


def test_a_spectral_radius_that_bounds_do_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnn_diag.diagnostics.spectrum._doublings", lambda size: 3)
    spectrum = recurrent_spectrum(default_initialised(40), exact_up_to=20)
    assert math.isnan(spectrum.spectral_radius)
    assert math.isfinite(spectrum.transient_growth)
    assert math.isfinite(spectrum.numerical_radius)


def test_residuals_bound_what_a_krylov_space_misses() -> None:
    w = default_initialised(150)
    exact, iterative = recurrent_spectrum(w), recurrent_spectrum(w, exact_up_to=100)
    assert not exact.eigenvalue_residuals.any()
    assert not exact.singular_value_residuals.any()
    nearest = (exact.singular_values - iterative.singular_values.unsqueeze(1)).abs().amin(1)
    assert (nearest <= iterative.singular_value_residuals + 1e-12).all()
    for value, residual in zip(iterative.eigenvalues[:10], iterative.eigenvalue_residuals[:10], strict=True):
        distance = torch.linalg.svdvals(w - value * torch.eye(150, dtype=w.dtype))[-1]
        assert distance <= residual * (1 + 1e-9) + 1e-12


def test_growth_that_a_search_ended_within_is_marked_as_a_lower_bound() -> None:
    slow = matrix([0.999, 1.0], [0.0, 0.999])
    assert recurrent_spectrum(slow).transient_growth_is_lower_bound
    assert not recurrent_spectrum(slow, max_power=20000).transient_growth_is_lower_bound
    assert not recurrent_spectrum(matrix([0.9, 1.0], [0.0, 0.9])).transient_growth_is_lower_bound
    assert recurrent_spectrum(0.5 * torch.eye(40), exact_up_to=10).transient_growth_is_lower_bound


def test_measuring_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    recurrent_spectrum(default_initialised(1)[:1])
    torch.set_rng_state(before)
    recurrent_spectrum(torch.eye(40), exact_up_to=10)
    assert torch.equal(torch.get_rng_state(), before)
