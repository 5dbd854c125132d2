"""Figures need no pyplot, and without matplotlib say how to get it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rnn_diag.reporting import figures

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'rnn_diag[plot]'")


def test_drawing_touches_neither_pyplot_nor_the_global_settings():
    code = (
        "import sys, matplotlib\n"
        "kept = [name for name in matplotlib.rcParams if name != 'backend']\n"  # Reading that one loads pyplot.
        "before = {name: matplotlib.rcParams[name] for name in kept}\n"
        "from rnn_diag.reporting import figures\n"
        "figures.gradient_heat_map([0, 1], [[-1.0], [-2.0]]).savefig('/dev/null', format='png')\n"
        "print('matplotlib.pyplot' in sys.modules, {name: matplotlib.rcParams[name] for name in kept} == before)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rnn_diag\[plot\]'"):
        figures.gradient_profile([-1.0])
