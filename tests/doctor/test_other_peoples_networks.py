"""What the doctor says of networks as they are in other people's projects: no false alarm, and the right first word."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.doctor import Report, Severity, examine
from tests.doctor.other_projects import HEALTHY, SICK, Patient


def report_of(patient: Patient) -> Report:
    return examine(patient.model, patient.batch, patient.loss)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_project_has_no_finding_above_information(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    findings = report_of(HEALTHY[name]()).findings
    assert [str(one) for one in findings if one.severity > Severity.INFO] == []


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SICK)
def test_the_first_finding_at_a_sick_project_is_the_right_one(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    make, layer, expected = SICK[name]
    first = report_of(make()).findings[0]
    assert first.layer == layer
    assert first.id in expected.split("|")
    assert first.severity > Severity.INFO


def test_there_are_eleven_of_each() -> None:
    assert (len(SICK), len(HEALTHY)) == (11, 11)
