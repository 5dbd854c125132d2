"""Characters to tokens and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn_diag.tasks.vocabulary import Vocabulary

# Characters that UTF-8 can hold: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


def test_tokens_are_unknown_then_file_then_characters_in_order():
    vocabulary = Vocabulary("cab")
    assert vocabulary.names == ["<unk>", "<file>", "a", "b", "c"]
    assert vocabulary.encode("abcd").tolist() == [2, 3, 4, 0]
    assert vocabulary.file_token == 1


@given(texts)
def test_text_of_known_characters_survives_encoding(text):
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    assert tokens.shape == (len(text),)
    assert tokens.min() >= 2 and tokens.max() < len(vocabulary)
    assert vocabulary.decode(tokens) == text


@given(texts, texts)
def test_each_character_has_the_token_of_its_name(known, text):
    vocabulary = Vocabulary.of(known)
    expected = [vocabulary.names.index(character) if character in known else 0 for character in text]
    assert vocabulary.encode(text).tolist() == expected


def test_rare_characters_are_unknown():
    vocabulary = Vocabulary.of("aaabb😀", minimum_count=2)
    assert vocabulary.characters == "ab"
    assert vocabulary.decode(vocabulary.encode("a😀b")) == "a\ufffdb"


def test_strict_vocabulary_knows_rare_characters_and_names_the_unseen_one():
    vocabulary = Vocabulary.of("aab", minimum_count=2, unknown="error")
    assert vocabulary.encode("ab").tolist() == [2, 3]
    with pytest.raises(ValueError) as error:
        vocabulary.encode("abé")
    assert str(error.value) == (
        "character 'é' (U+00E9) at position 2 does not occur in the training text; "
        "expected one of 'ab', or unknown='token' to read it as <unk>"
    )


def test_an_empty_text_has_no_tokens_in_either_mode():
    for unknown in ("token", "error"):
        assert torch.equal(Vocabulary("a", unknown).encode(""), torch.empty(0, dtype=torch.int32))


def test_an_unknown_mode_is_answered_with_the_choices():
    with pytest.raises(ValueError, match="unknown='skip'; choices: token, error"):
        Vocabulary("a", unknown="skip")
