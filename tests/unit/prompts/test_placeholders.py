"""Placeholders: found as words, judged before a run, saved under a name that finds them again."""

import pytest

from pivotal.prompts.placeholders import captions_without, find_placeholders, placeholder_problems, safe_file_name


@pytest.mark.parametrize(("text", "names", "expected"), [
    ("a cat here", ["cat"], [(2, 5, "cat")]),
    ("catalog, bobcat, cat_2, cat9", ["cat"], []),
    ("Cat, CAT's (cat) cat-like", ["cat"], [(0, 3, "cat"), (5, 8, "cat"), (12, 15, "cat"), (17, 20, "cat")]),
    ("x<angle>y <ANGLE>", ["<angle>"], [(1, 8, "<angle>"), (10, 17, "<angle>")]),
    ("in my  style\nword.", ["my style word"], [(3, 17, "my style word")]),
    ("my style word", ["my style", "my style word", "word"], [(0, 13, "my style word")]),
    ("my style words", ["my style", "my style word"], [(0, 8, "my style")]),
    ("c++ c", ["c++", "c"], [(0, 3, "c++"), (4, 5, "c")]),
    ("кот и котлета", ["кот"], [(0, 3, "кот")]),
    ("anything", [], []),
    ("any thing", ["", "  "], []),
    ("a.b axb", ["a.b"], [(0, 3, "a.b")]),
])
def test_names_are_found_as_words(text, names, expected):
    assert find_placeholders(text, names) == expected


def test_captions_without_a_placeholder_are_listed():
    captions = ["a zkcat", "a catalog", "ZKCAT", "zkcat hat"]
    assert captions_without("zkcat", captions) == [1]
    assert captions_without("zkcat", captions, others=["zkcat hat"]) == [1, 3]


@pytest.mark.parametrize("placeholder", ["zkwemb", "my style word", "<embedding>", "zk-cat_2", "日本スタイル", "emb,name"])
def test_a_usable_placeholder_has_no_problems(tokenizer, placeholder):
    assert placeholder_problems(placeholder, vectors=75, tokenizer=tokenizer, others=["another one"]) == []


@pytest.mark.parametrize(("placeholder", "said"), [
    ("", "is empty"),
    (" \t", "is empty"),
    ("zk#emb", "begin of a comment"),
    ("cat", "ordinary word of the text encoder (token 2368)"),
    (" Cat ", 'choose a word that is none, for example "zkCat"'),
    ("zk.cat", 'without "."'),
    ("zk(cat)", "more and less attention"),
    ("zk]cat", "more and less attention"),
    ("zk\\cat", "makes the next sign literal"),
    ("zka AND zkb", "divide the prompt"),
    ("zk BREAK", "divide the prompt"),
    ("<lora:zk:1>", "extra network"),
    ("zk\ncat", "U+000A"),
    ("\x01", "no letter that a text encoder reads"),
    ("zkw" * 41, "too long for a file name"),
])
def test_a_placeholder_that_hosts_cannot_find_is_told_with_the_remedy(tokenizer, placeholder, said):
    problems = placeholder_problems(placeholder, vectors=1, tokenizer=tokenizer)
    assert any(said in problem for problem in problems), problems
    assert all(problem.endswith(".") and "\n" not in problem for problem in problems)


@pytest.mark.parametrize("vectors", [0, 76, 1000])
def test_more_vectors_than_a_prompt_holds_are_refused(tokenizer, vectors):
    (problem,) = placeholder_problems("zkwemb", vectors=vectors, tokenizer=tokenizer)
    assert f"{vectors} vectors" in problem


@pytest.mark.parametrize(("placeholder", "other", "said"), [
    ("zkwemb", "ZKWEMB", "the same to the text encoder"),
    ("zk_a", "zk _ a", "the same to the text encoder"),
    ("zk<a>", "zk|a|", "one file name"),
    ("my style", "my style word", "overlap"),
    ("my style word", "style", "overlap"),
    ("my style", "style word", "overlap"),
])
def test_two_placeholders_that_get_in_each_others_way_are_told(tokenizer, placeholder, other, said):
    for first, second in ((placeholder, other), (other, placeholder)):
        problems = placeholder_problems(first, vectors=1, tokenizer=tokenizer, others=[second])
        assert any(said in problem for problem in problems), problems


def test_a_name_that_only_begins_like_another_is_no_overlap(tokenizer):
    assert placeholder_problems("zkcat", vectors=1, tokenizer=tokenizer, others=["zkcatalog", "zkc"]) == []


@pytest.mark.parametrize(("placeholder", "stem"), [
    ("zkwemb", "zkwemb"),
    ("my  style\tword", "my style word"),
    ("<embedding>", "_embedding_"),
    ('a:b"c/d\\e|f?g*h', "a_b_c_d_e_f_g_h"),
    ("trailing. . ", "trailing"),
    ("CON", "CON_"),
    ("com1.x", "com1_.x"),
    ("console", "console"),
    ("...", "_"),
    ("日本", "日本"),
    ("cafe\u0301", "café"),
])
def test_file_names_are_safe_on_every_system(placeholder, stem):
    assert safe_file_name(placeholder) == stem
    assert safe_file_name(stem) == stem
