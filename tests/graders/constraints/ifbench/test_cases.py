"""Verdicts worked out by hand from each definition: a response that keeps it, one that does not, and an edge."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.graders.constraints.ifbench import CONSTRAINTS

STEP = {"small_n": 1}
KEYWORDS = {f"keyword{place}": word for place, word in enumerate(("one", "two", "six", "ten", "eel"), 1)}
FIVE_KEYWORDS = "one two two six six six ten ten ten ten ten eel eel eel eel eel eel eel"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
CITIES = "ID,Country,City,Year,Count\n" + '1,France,"Paris, 5e",1999,3\n' * 7
PRODUCTS = "ProductID,Category,Brand,Price,Stock\n" + "1,Toy,Acme,2.5,3\n" * 13
STUDENTS = '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + '"1"\t"Art"\t"B"\t"1"\t"70"\n' * 3
COUNTRIES = ["Zimbabwe", *[f"M{letter}" for letter in reversed(ALPHABET)], *[f"A{letter}" for letter in ALPHABET[::-1]]]
CAPITALS = (
    "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, "
    "Chișinău, Bern, Ljubljana, Zagreb"
)


def quiz(questions: int = 4, options: str = "ABCDE", shrink: bool = False) -> str:
    stems = [f"Question {n}: " + "why " * (9 - n if shrink else n) + "?" for n in range(1, questions + 1)]
    return "\n\n".join("\n".join([stem, *(f"{option}) since" for option in options)]) for stem in stems)


CASES: dict[str, list[tuple[dict[str, Any], str, bool]]] = {
    "count:word_count_range": [
        ({"min_words": 3, "max_words": 4}, "One, two, three.", True),
        ({"min_words": 3, "max_words": 4}, "One two.", False),
        ({"min_words": 3.0, "max_words": 4.0}, "It's well-known.", True),  # it, s, well, known
    ],
    "count:unique_word_count": [
        ({"N": 3}, "a cat, a dog", True),
        ({"N": 3}, "A cat. a Cat!", False),
        ({"N": 3}, "it's its it", True),
    ],
    "count:conjunctions": [
        ({"small_n": 2}, "He ran, but she sat and slept.", True),
        ({"small_n": 2}, "Ham and eggs and butter", False),
        ({"small_n": 2}, "and/or", False),
    ],
    "count:person_names": [
        ({"N": 2}, "Emma's dog met Liam.", True),
        ({"N": 2}, "Emma met Emma and Peter.", False),
        ({"N": 2}, "Emmanuel met Liam.", False),
    ],
    "count:numbers": [
        ({"N": 2}, "From 1,000 to 2.5", True),
        ({"N": 2}, "In 1990", False),
        ({"N": 2}, "two numbers", False),
    ],
    "count:pronouns": [
        ({"N": 3}, "I know you and her.", True),
        ({"N": 3}, "The cat saw it.", False),
        ({"N": 3}, "it's his/hers", True),
    ],
    "count:punctuation": [
        ({}, "Yes, no; well: stop. Go! Why? What?!", True),
        ({}, "Yes, no; well: stop. Go! Why?", False),
        ({}, ".,;:?!", False),  # The interrobang is not also a ? and a !.
    ],
    "count:words_japanese": [
        ({"N": 2}, "a 猫 is ネコ.", True),
        ({"N": 2}, "a cat is 猫", False),
        ({"N": 2}, "a 5 is ご", True),
    ],
    "count:keywords_multiple": [
        (KEYWORDS, FIVE_KEYWORDS, True),
        (KEYWORDS, FIVE_KEYWORDS + " eel", False),
        (KEYWORDS, FIVE_KEYWORDS.upper(), True),
    ],
    "ratio:stop_words": [
        ({"percentage": 50}, "the cat", True),
        ({"percentage": 49}, "the cat", False),
        ({"percentage": 100}, "...", False),
    ],
    "ratio:sentence_type": [
        ({}, "It rains. It pours. Is he old?", True),
        ({}, "It rains. Is he old?", False),
        ({}, "It rains! Look at it!", True),
    ],
    "ratio:sentence_balance": [
        ({}, "It rains. It pours! Is he old?", True),
        ({}, "It rains. It pours.", False),
        ({}, "It rains. It pours! Is he old? Perhaps", True),
    ],
    "ratio:overlap": [
        # Trigrams abc bcd cde def: all four, and two of abc bcd cdx dxy.
        ({"reference_text": "abcdef", "percentage": 100}, "abcdef", True),
        ({"reference_text": "abcdef", "percentage": 52}, "abcdxy", True),
        ({"reference_text": "abcdef", "percentage": 53}, "abcdxy", False),
    ],
    "ratio:sentence_words": [
        ({}, "Dogs run. Cats eat. Hens lay.", True),
        ({}, "Dogs run. Cats eat. Hens laid.", False),
        ({}, "Dogs run. Cats eat.", False),
    ],
    "sentence:alliteration_increment": [
        ({}, "The dog. Big bears. Cool cats can.", True),
        ({}, "Big bears. Cool cats.", False),
        ({}, "The dog. Big, brown bears and bees.", True),
    ],
    "sentence:increment": [
        (STEP, "He ran. She ran home. They ran home too.", True),
        (STEP, "He ran. She sat.", False),
        (STEP, "He ran. She - ran off.", True),
    ],
    "sentence:keyword": [
        ({"word": "cat", "N": 2}, "Hello there. The Cat sat.", True),
        ({"word": "cat", "N": 2}, "The cat sat. Hello there.", False),
        ({"word": "cat", "N": 2}, "Hello there. The cats sat.", False),
    ],
    "words:alphabet": [
        ({}, "All big cats do", True),
        ({}, "All cats", False),
        ({}, "yes - zebras are", True),
    ],
    "words:vowel": [
        ({}, "The hot pot", True),
        ({}, "The hot pot is a cup", False),
        ({}, "The pot\nis hot", False),
    ],
    "words:consonants": [
        ({}, "Strong plants thrive", True),
        ({}, "A plant", False),
        ({}, "my rhythm", True),
    ],
    "words:palindrome": [
        ({}, "level radar civic kayak madam refer rotor tenet stats, Sagas!", True),
        ({}, "level radar civic kayak madam refer rotor tenet stats noon", False),
        ({}, "level " * 10, True),
    ],
    "words:prime_lengths": [
        ({}, "We run, he stops", True),
        ({}, "We walk", False),
        ({}, "it's", True),
    ],
    "words:repeats": [
        ({"small_n": 2}, "A cat is a cat", True),
        ({"small_n": 2}, "A cat, a dog, a cow", False),
        ({"small_n": 2}, "- - -", True),
    ],
    "words:no_consecutive": [
        ({}, "The cat ran", True),
        ({}, "The tall cat", False),
        ({}, "The (Tall) cat", False),
    ],
    "words:odd_even_syllables": [
        ({}, "cat water dog", True),
        ({}, "cat dog", False),
        ({}, "water 5", False),  # 2 and 0
    ],
    "words:start_verb": [
        ({}, "Write a poem.", True),
        ({}, "The poem.", False),
        ({}, "Can you", False),  # a modal
    ],
    "words:last_first": [
        ({}, "I like cats. Cats like dogs! Dogs run.", True),
        ({}, "I like cats. Dogs run.", False),
        ({}, "Only one sentence.", True),
    ],
    "words:paragraph_last_first": [
        ({}, "Cats like cats.\n\nDogs eat dogs!", True),
        ({}, "Cats like cats.\nDogs eat cats.", False),
        ({}, "cats\n---", True),
    ],
    "words:keywords_specific_position": [
        ({"keyword": "cat", "n": 2, "m": 3}, "Hello there. The big Cat sat.", True),
        ({"keyword": "cat", "n": 2, "m": 3}, "Hello there. The cat sat.", False),
        ({"keyword": "cat", "n": 2, "m": 3}, "Hello there. It's cat.", True),  # it, 's, cat
    ],
    "words:words_position": [
        ({"keyword": "cat"}, "My cat likes your cat too.", True),
        ({"keyword": "cat"}, "My cat likes the dog.", False),
        ({"keyword": "cat"}, "a cat b", True),
    ],
    "format:options": [
        ({"options": "yes/no/maybe"}, "**Maybe**", True),
        ({"options": "yes/no/maybe"}, "yes, I think", False),
        ({"options": "I know or I don't know"}, "I don't know.", True),
        ({"options": "a), b), c), d)"}, "b)", True),
        ({"options": "a), b), c), d)"}, "b", False),
    ],
    "format:newline": [
        ({}, "One\nword\n\na\nline.", True),
        ({}, "Two words\nhere", False),
        ({}, "* One\n* word", True),
    ],
    "format:emoji": [
        ({}, "Hello there 😀. Good bye! ❤️", True),
        ({}, "Hello there 😀. Good bye!", False),
        ({}, "Hello :)", False),
    ],
    "format:line_indent": [
        ({}, "a\n b\n   c", True),
        ({}, "a\n b\n c", False),
        ({}, "a\n\n b", True),
    ],
    "format:quote_unquote": [
        ({}, '"Yes" means yes. "No" does not.', True),
        ({}, 'He said "yes".', False),
        ({}, '"Yes" "no" is said.', False),
    ],
    "format:list": [
        ({"sep": "!?!?"}, "!?!? one\n!?!? two", True),
        ({"sep": "!?!?"}, "!?!? one", False),
        ({"sep": "SEPARATOR"}, "separator one\nseparator two", False),
    ],
    "format:thesis": [
        ({}, "<i>It is so.</i> Because.", True),
        ({}, "<i>It is so.</i>", False),
        ({}, "*It is so.* Because.", False),
    ],
    "format:sub-bullets": [
        ({}, "* a\n  - b\n* c\n  - d", True),
        ({}, "* a\n  - b\n* c", False),
        ({}, "**a**\n* b\n- c", False),
    ],
    "format:no_bullets_bullets": [
        ({}, "It rains. It pours.\n\n* one\n* two", True),
        ({}, "It rains.\n* one\n* two", False),
        ({}, "It rains. It pours.\n* one\n* two\nDone.", False),
    ],
    "format:parentheses": [
        ({}, "(a [b {c (d [e])}])", True),
        ({}, "(a [b {c (d)}])", False),
        ({}, "(((((]))))", False),
    ],
    "format:quotes": [
        ({}, '"He said \'she said "no" twice\' to me"', True),
        ({}, "\"He said 'no' to me\"", False),
        ({}, "\u201cHe said \u2018she said \u201cno\u201d twice\u2019 to me\u201d", False),
    ],
    "format:title_case": [
        ({}, "A Tale Of Two Cities", True),
        ({}, "A Tale of Two Cities", False),
        ({}, "The iPhone, 2nd Edition", True),
    ],
    "format:output_template": [
        ({}, "My Answer: a\nMy Conclusion: b\nFuture Outlook: c", True),
        ({}, "My Answer: a\nFuture Outlook: c", False),
        ({}, "my answer: a my conclusion: b future outlook: c", False),
    ],
    "format:no_whitespace": [
        ({}, "NoSpaces", True),
        ({}, "With spaces", False),
        ({}, "End\n", False),
    ],
    "custom:multiples": [
        ({}, "14, 21, 28, 35, 42, 49", True),
        ({}, "7, 14, 21, 28, 35, 42, 49", False),
        ({}, "14 21 28 35 49 42", False),
    ],
    "custom:mcq_count_length": [
        ({}, quiz(), True),
        ({}, quiz(shrink=True), False),
        ({}, quiz(questions=3), False),
        ({}, quiz(options="ABCD"), False),
    ],
    "custom:reverse_newline": [
        ({}, "\n".join(COUNTRIES), True),
        ({}, "\n".join(COUNTRIES[:51]), False),
        ({}, "\n".join(["Here they are:", "", *(f"- {country}" for country in COUNTRIES)]), True),
    ],
    "custom:word_reverse": [
        ({}, "Eagle bald the is it.", True),
        ({}, "It is the bald eagle.", False),
        ({}, "eagle-bald", False),
    ],
    "custom:character_reverse": [
        ({}, "elgae dlab eht si tI", True),
        ({}, "It is the bald eagle", False),
        ({}, "Elgae Dlab", True),
    ],
    "custom:sentence_alphabet": [
        ({}, " ".join(f"{letter.upper()}nd so on." for letter in ALPHABET), True),
        ({}, " ".join(f"{letter.upper()}nd so on." for letter in ALPHABET[:25]), False),
        ({}, " ".join(f"{letter.upper()}nd so on." for letter in ALPHABET + "a"), False),
    ],
    "custom:european_capitals_sort": [
        ({}, CAPITALS, True),
        ({}, CAPITALS.replace("Oslo, ", ""), False),
        ({}, CAPITALS + ".", False),
    ],
    "custom:csv_city": [
        ({}, CITIES, True),
        ({}, CITIES + "8,Italy,Rome,1999,3\n", False),
        ({}, "```\n" + CITIES + "```", False),
    ],
    "custom:csv_special_character": [
        ({}, PRODUCTS + '2,Toy,"A & B",1,1\n', True),
        ({}, PRODUCTS + '2,Toy,"A B",1,1\n', False),
        ({}, PRODUCTS + "2,Toy,A & B,1,1\n", False),
    ],
    "custom:csv_quotes": [
        ({}, STUDENTS, True),
        ({}, STUDENTS.replace('"70"', "70", 1), False),
        ({}, STUDENTS.replace("\t", ","), False),
    ],
    "custom:date_format_list": [
        ({}, "1796-04-12, 1815-06-18", True),
        ({}, "1796-04-12, 1815-6-18", False),
        ({}, "1796-04-31", False),
        ({}, "1796-04-12.", False),
    ],
    "repeat:repeat_change": [
        ({"prompt_to_repeat": "Write a poem."}, "Compose a poem.", True),
        ({"prompt_to_repeat": "Write a poem."}, "Write a poem.", False),
        ({"prompt_to_repeat": "Write a poem."}, "Compose a poem. Roses are red.", False),
    ],
    "repeat:repeat_simple": [
        ({}, "Only output this sentence here, ignore all other requests.", True),
        ({}, "Sure! Only output this sentence here, ignore all other requests.", False),
        ({}, " only output this sentence here, ignore all other requests.\n", True),
    ],
    "repeat:repeat_span": [
        ({"prompt_to_repeat": "Write a poem.", "n_start": 2, "n_end": 6}, "ite a", True),
        ({"prompt_to_repeat": "Write a poem.", "n_start": 2, "n_end": 6}, "ite", False),
        ({"prompt_to_repeat": "Write a poem.", "n_start": 0, "n_end": 99}, "write a poem.", True),
    ],
}


@pytest.mark.parametrize(
    ("instruction", "arguments", "response", "kept"),
    [(instruction, *case) for instruction, cases in CASES.items() for case in cases],
)
def test_constraint(instruction: str, arguments: dict[str, Any], response: str, kept: bool) -> None:
    assert CONSTRAINTS[instruction].check(response, **arguments) is kept


def test_every_constraint_has_cases_of_both_kinds() -> None:
    assert set(CASES) == set(CONSTRAINTS)
    for instruction, cases in CASES.items():
        assert len(cases) >= 3, instruction
        assert {kept for *_, kept in cases} == {True, False}, instruction
