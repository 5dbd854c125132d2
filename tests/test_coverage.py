"""How a layer was captured: a status that reads as the word that tables show."""

from rnn_diag.coverage import Coverage, Status


def test_a_status_is_the_word_that_tables_show() -> None:
    assert f"{Status.NOT_FAITHFUL}: why" == "not faithful: why"
    assert Status("never ran") is Status.NEVER_RAN


def test_a_layer_has_no_hint_unless_one_is_given() -> None:
    assert Coverage("l0", "torch.nn.LSTM", Status.EXACT, "").hint == ""
