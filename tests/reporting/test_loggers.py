"""Each service gets a picture and the verdict through its own interface; the real ones are tried by hand."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnn_diag.reporting.loggers import GALLERIES, as_html, gallery_of
from rnn_diag.reporting.markdown import Statement

PIXELS = np.zeros((2, 3, 3), np.uint8)
STATEMENT = Statement("warning", "l0 <b>", "vanishing: It fades.", "horizon: 7", "chrono")


class Told:
    """Takes every call and remembers it."""

    run_id = "run"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    @property
    def experiment(self) -> Told:
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


def logger(name: str) -> Told:
    """Return a logger whose class is derived from one of this name."""
    return type("Own", (type(name, (Told,), {}),), {})()


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the packages of services, which wrap what they are given."""
    for package, names in {"wandb": ["Html"], "aim": ["Image", "Text"]}.items():
        module = ModuleType(package)
        for name in names:
            setattr(module, name, lambda content, name=name: SimpleNamespace(kind=name, content=content))
        monkeypatch.setitem(sys.modules, package, module)


def told(name: str) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    one = logger(name)
    gallery = gallery_of(one)
    assert gallery is not None
    gallery.add_picture("gates/a[0].l0/open", PIXELS, 20)
    gallery.add_verdict("<p>all well</p>", 30)
    return one.calls


def test_wandb_gets_an_image_and_html_at_their_training_steps() -> None:
    (image, _, options), (metrics, (given,), step) = told("WandbLogger")
    assert (image, options) == ("log_image", {"key": "gates/a[0].l0/open", "images": [PIXELS], "step": 20})
    assert (metrics, step) == ("log_metrics", {"step": 30})
    assert given["rnn_diag/verdict"].kind == "Html" and given["rnn_diag/verdict"].content == "<p>all well</p>"


def test_mlflow_gets_an_image_under_a_key_that_it_takes_and_an_artifact() -> None:
    (image, (run, pixels), options), (text, (_, content, file), _) = told("MLFlowLogger")
    assert (image, run, options) == ("log_image", "run", {"key": "gates/a_0_.l0/open", "step": 20}) and pixels is PIXELS
    assert (text, file) == ("log_text", "rnn_diag/verdict.html") and "step 30" in content and "all well" in content


def test_comet_gets_a_graphic_and_html() -> None:
    (image, _, options), (html, (content,), _) = told("CometLogger")
    assert (image, options) == ("log_image", {"name": "gates/a[0].l0/open", "step": 20})
    assert html == "log_html" and "step 30" in content


def test_aim_tracks_an_image_and_a_text() -> None:
    (image, (picture,), named), (text, (words,), where) = told("AimLogger")
    assert image == text == "track" and picture.kind == "Image" and picture.content.size == (3, 2)
    assert named == {"name": "gates/a[0].l0/open", "step": 20} and where["step"] == 30 and words.kind == "Text"


def test_loggers_of_numbers_alone_show_no_pictures() -> None:
    assert gallery_of(logger("CSVLogger")) is None
    assert len({one.logger_type for one in GALLERIES}) == len(GALLERIES) == 4


def test_a_verdict_is_a_table_whose_names_are_text() -> None:
    html = as_html([STATEMENT])
    assert html.count("<tr>") == 2 and "l0 &lt;b&gt;" in html and "vanishing: It fades." in html and "chrono" in html
