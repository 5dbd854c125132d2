"""Hooks that no error leaves: in every phase, of every callback, whoever wrote it."""

from __future__ import annotations

import warnings

import pytest

from rnn_diag.callbacks import DiagnosticWarning, Doctor, GradientNorms, RNNDiagnostics
from rnn_diag.callbacks.attachment import HOOKS, DiagnosticCallback
from rnn_diag.callbacks.session.session import Session
from rnn_diag.capture import observe

MAX = "gradient_norms/encoder.l0/log10_max"


def everything(trainer, callback, model, batches, tmp_path):
    """Go through all phases: a sanity check, training with validation, a checkpoint, a resumed run, test, predict."""
    run = trainer(callback, num_sanity_val_steps=1)
    run.fit(model, batches, batches)
    run.save_checkpoint(tmp_path / "last.ckpt")
    resumed = trainer(callback, max_epochs=2)
    resumed.fit(model, batches, batches, ckpt_path=tmp_path / "last.ckpt")
    resumed.validate(model, batches, verbose=False)
    resumed.test(model, batches, verbose=False)
    resumed.predict(model, batches)
    return resumed


@pytest.fixture
def whole(network):
    """Return a network that can be tested and used to predict."""

    class Whole(type(network())):
        test_step = type(network()).validation_step

        def predict_step(self, batch, batch_idx):
            return self.encoder(batch[0])[0]

    model = network()
    model.__class__ = Whole
    return model


def broken(self, *arguments, **options):
    raise ArithmeticError("broken")


def failing(base: type[DiagnosticCallback], *hooks: str) -> type[DiagnosticCallback]:
    """Return a subclass of which these hooks raise."""
    return type("Failing", (base,), {hook: lambda self, *a, **o: broken(self) for hook in hooks})


def said(caught) -> list[str]:
    return [str(one.message) for one in caught if one.category is DiagnosticWarning]


@pytest.mark.parametrize("base", [GradientNorms, RNNDiagnostics, Doctor])
def test_hooks_that_raise_end_no_phase_and_each_is_named_in_one_warning(base, whole, batches, trainer, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run = everything(trainer, failing(base, *HOOKS)(1), whole, batches, tmp_path)
    assert run.global_step == 12
    told = [
        line.removeprefix("rnn_diag: ").split(" of Failing is left out: ArithmeticError in ")[0]
        for line in said(caught)
    ]
    assert len(told) == len(set(told))
    assert set(told) == set(HOOKS) - {"on_exception", "load_state_dict"}  # nothing raised, and there is no state
    assert observe._observers == []


@pytest.mark.parametrize("base", [RNNDiagnostics, Doctor])
@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook in vars(DiagnosticCallback)])
def test_one_hook_that_raises_leaves_the_others_in_order(hook, base, whole, batches, trainer, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run = everything(trainer, failing(base, hook)(1), whole, batches, tmp_path)
    assert run.global_step == 12
    told = [line for line in said(caught) if f" {hook} of Failing is left out: ArithmeticError" in line]
    assert len(told) <= 2  # once in each fit
    assert bool(told) is (hook != "on_exception")
    assert observe._observers == []


METHODS = ("announce", "batch_starts", "backward_ends", "batch_ends", "abandon", "end", "close")


@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_our_own_ends_no_run_and_leaves_nothing_behind(method, network, batches, trainer, monkeypatch):
    original = getattr(Session, method)

    def fail(self, *arguments):
        original(self, *arguments)
        raise ArithmeticError("broken")

    monkeypatch.setattr(Session, method, fail)
    run = trainer(RNNDiagnostics(1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run.fit(network(), batches)
    assert run.global_step == 6
    assert any("is left out: ArithmeticError in test_attachment.py" in line for line in said(caught))
    assert observe._observers == []


def test_an_error_in_a_hook_does_not_hide_the_error_that_ended_the_run(network, batches, trainer):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            raise KeyError("of the user")

    model = network()
    model.__class__ = Broken
    with pytest.raises(KeyError, match="of the user"), pytest.warns(DiagnosticWarning, match="on_exception of Failing"):
        trainer(failing(RNNDiagnostics, "on_exception", "teardown")(1)).fit(model, batches)


def test_errors_are_let_through_where_that_is_asked_for(network, batches, trainer, monkeypatch):
    monkeypatch.setenv("RNN_DIAG_RAISE", "1")
    with pytest.raises(ArithmeticError, match="broken"):
        trainer(failing(RNNDiagnostics, "on_train_start")(1)).fit(network(), batches)


def test_a_step_lost_to_an_error_is_not_shown_and_the_next_one_is(network, batches, trainer, tensorboard, events):
    class Once(GradientNorms):
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 2:
                raise ArithmeticError("broken")
            super().on_after_backward(trainer, pl_module)

    with pytest.warns(DiagnosticWarning, match="on_after_backward of Once is left out"):
        trainer(Once(1), logger=tensorboard).fit(network(), batches)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_checkpoint_of_the_version_before_resumes(unnamed, network, batches, trainer, tensorboard):
    """Its histories had no names, and stood in the order of the suite."""
    first = RNNDiagnostics(1)
    trainer(first, logger=tensorboard).fit(network(), batches)
    columns = first.state_dict()["histories"]["gradient_norms"]["encoder.l0"]
    histories = [{"encoder.l0": columns}, {}, {}, {}] if unnamed else {"gradient_norms": {"encoder.l0": columns}}
    second = RNNDiagnostics(1)
    second.load_state_dict({"progress": {"stretch": 4, "drawn": 6}, "histories": histories})
    trainer(second, logger=tensorboard, limit_train_batches=1).fit(network(), batches)
    assert second.state_dict()["progress"]["stretch"] == 4
    assert second.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["steps"] == [*columns["steps"], 0]


@pytest.mark.parametrize(
    ("callback", "key"),
    [
        (RNNDiagnostics(layers="a*"), "RNNDiagnostics{'layers': ['a*']}"),
        (GradientNorms(), "GradientNorms{'layers': ['*']}"),
        (Doctor(layers=["a", "b"]), "Doctor{'layers': [['a', 'b']]}"),
    ],
)
def test_the_key_of_a_checkpoint_stays(callback, key):
    assert callback.state_key == key
