"""The lexer: brace depth and region at every character of C++ text."""

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn_diag.tasks.lexer import Region, lex


def depths(text):
    return "".join(map(str, lex(text).depth.tolist()))


def regions(text):
    return "".join("./sc"[kind] for kind in lex(text).region.tolist())


def test_an_opening_brace_counts_itself_and_a_closing_one_is_closed():
    assert depths("a{b{}c}d") == "01121100"


def test_a_closing_brace_at_depth_zero_leaves_zero():
    assert depths("}}{}{") == "00101"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a//{'\"\n{", "./////.."),
        ("a//{ \\\n{\nb", ".///////.."),
        ("//{ \\\\\n{\nb", "////////.."),
        ("//{ \\\r\n{\nb", "////////.."),
        ("a/*{*//*\n{*/}", "." + "/" * 11 + "."),
        ("/* // */{", "////////."),
        ("// /* \n{", "//////.."),
        ("/*{ never closed", "/" * 16),
        ('"{"{', "sss."),
        (r'"\"{"{', "sssss."),
        (r'"\\"{', "ssss."),
        ('"a\\\n{"{', "ssssss."),
        ('"a\\\r\n{"{', "sssssss."),
        ('"// {"{', "ssssss."),
        ("'{'{", "ccc."),
        (r"'\''{", "cccc."),
        (r"'\\'{", "cccc."),
        ("""'"'{'"'""", "ccc.ccc"),
        ("u8'{'{", "..ccc."),
        ('L"{"{', ".sss."),
        ('R"({"})"{', "s" * 8 + "."),
        ('R"x()"{)x"{', "s" * 10 + "."),
        ('u8R"-({)-"{', ".." + "s" * 8 + "."),
        ('LR"({)"{', "." + "s" * 6 + "."),
        ('R"(a\\)"{', "s" * 7 + "."),
        ('FOOR"(x)"{', "....sssss."),
        ('R"(never {', "s" * 10),
        ("1'000{", "......"),
        ("0xFF'FF'{'", ".......ccc"),
        ("1.5e+3'0{'{'", ".........ccc"),
        ("x1'{'", "..ccc"),
        ("#error don't {", "." * 14),
        ('"open {\n}', "." * 9),
        ("a / b * c {", "." * 11),
        ("", ""),
    ],
)
def test_every_character_is_in_its_region(text, expected):
    assert regions(text) == expected


@pytest.mark.parametrize("text", ['"{"', "'{'", "//{", "/*{*/", 'R"({)"', "'\\''", 'u8R"y({)y"', '"\\\n{"'])
def test_no_brace_outside_code_changes_the_depth(text):
    assert depths("{" + text + "\n}")[1:] == "1" * (len(text) + 1) + "0"


TOKENS = ["{", "}", "/*", "*/", "//", '"', "'", "\\", "\n", "R", "(", ")", "1", "a", " ", "u8", "é", "😀"]


def by_hand(text):
    """A character loop over the same grammar, without raw strings and digit separators."""
    depth, kind, result, i = 0, None, [], 0
    ends: dict[int, int] = {}
    while i < len(text):
        two = text[i : i + 2]
        if kind is None and two == "//":
            stop = i
            while stop < len(text) and not (text[stop] == "\n" and text[stop - 1] != "\\"):
                stop += 1
            ends[i] = stop
        elif kind is None and two == "/*":
            stop = text.find("*/", i + 2)
            ends[i] = len(text) if stop < 0 else stop + 2
        elif kind is None and text[i] in "\"'":
            stop = i + 1
            while stop < len(text) and text[stop] not in ("\n", text[i]):
                stop += 2 if text[stop] == "\\" else 1
            if stop < len(text) and text[stop] == text[i]:
                ends[i] = stop + 1
        if i in ends:
            result += [depth] * (ends[i] - i)
            i = ends[i]
            continue
        depth = max(0, depth + (text[i] == "{") - (text[i] == "}"))
        result.append(depth)
        i += 1
    return result


@given(st.lists(st.sampled_from([token for token in TOKENS if token not in ("R", "1")]), max_size=40).map("".join))
def test_depth_equals_a_plain_loop_over_characters(text):
    assert lex(text).depth.tolist() == by_hand(text)


@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_depth_moves_by_one_at_most_and_only_at_braces_in_code(text):
    depth, region = lex(text)
    previous = 0
    for character, now, kind in zip(text, depth.tolist(), region.tolist(), strict=True):
        assert now >= 0
        if now != previous:
            assert kind == Region.CODE and now - previous == {"{": 1, "}": -1}[character]
        previous = now


def test_nearly_all_headers_of_torch_end_at_depth_zero():
    headers = sorted((Path(torch.__file__).parent / "include" / "ATen").rglob("*.h"))[::8]
    assert len(headers) > 500
    open_at_end = [header.name for header in headers if (lex(header.read_text("utf-8")).depth[-1:] != 0).any()]
    assert len(open_at_end) < 0.01 * len(headers), open_at_end


def test_a_million_characters_take_less_than_three_seconds():
    text = "namespace a { int f() { return g(\"{\", '}', 1'000); /* { */ } } // }\n" * 16_000
    start = time.process_time()
    assert lex(text).depth[-1] == 0
    assert time.process_time() - start < 3
