"""Make this recipe's problems: a short everyday request and one constraint that a program can check.

    python prepare.py data

    train.jsonl     for rlvr
    dev.jsonl       the same constraints on other topics, looked at while training
    unseen.jsonl    constraints of kinds that training never asks for, on topics of their own
    reworded.jsonl  those of training in words that training never uses, on the topics of unseen.jsonl

A row is one of IFEval's and IF-RLVR's problems: `prompt`, `instruction_id_list`, `kwargs`; its `family` names the kind
of constraint. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple


class Family(NamedTuple):
    """A kind of constraint: the checker's `id`, the words that ask for it, and what each of its arguments is drawn
    from. Words name arguments as in ``str.format``. `others` are kept for reworded.jsonl."""

    id: str
    wordings: Sequence[str]
    arguments: Mapping[str, Sequence[Any]] = {}
    others: Sequence[str] = ()


WORDS = ("simple", "morning", "friend", "always", "learn", "happy", "home", "time", "today", "small", "best", "water")
FIRST_WORDS = ("Well", "Honestly", "Today", "Sometimes", "Perhaps", "First", "Listen", "Everyone", "Imagine", "Maybe")
ENDINGS = ("That is all.", "I hope this helps.", "Have a good day.", "Good luck!", "Enjoy!", "See you soon.")

SEEN = {
    "no comma": Family(
        "punctuation:no_comma",
        ("Do not use any commas.", "In your answer, refrain from the use of any commas.", "Write it without commas."),
        others=("Leave out commas altogether.", "Not one comma may appear in what you write."),
    ),
    "capitals": Family(
        "change_case:english_capital",
        (
            "Your entire answer should be in English, and in all capital letters.",
            "Answer in capital letters only.",
            "WRITE THE WHOLE ANSWER IN CAPITAL LETTERS.",
        ),
        others=("Everything you write has to be in upper case.", "Use no lowercase letters."),
    ),
    "quotation": Family(
        "startend:quotation",
        (
            "Wrap your entire answer with double quotation marks.",
            "Put your whole answer in double quotation marks.",
            'Your answer must begin and end with a double quotation mark (").',
        ),
        others=("Enclose all that you write in double quotes.", 'The first and the last character must be ".'),
    ),
    "title": Family(
        "detectable_format:title",
        (
            "Your answer must contain a title, wrapped in double angular brackets, such as <<poem of joy>>.",
            "Begin with a title in double angular brackets, like <<a fine day>>.",
            "Add a title that is wrapped in << and >>.",
        ),
        others=("Give it a heading of this form: <<heading>>.", "Above it, set a name between << and >>."),
    ),
    "first word": Family(
        "first_word:first_word_answer",
        (
            'The first word of your answer should be "{first_word}".',
            'Begin your answer with the word "{first_word}".',
            'Your answer must start with "{first_word}".',
        ),
        {"first_word": FIRST_WORDS},
        ('Open with "{first_word}".', 'Let "{first_word}" be the word that you start with.'),
    ),
    "keyword": Family(
        "keywords:existence",
        (
            'Include the word "{keywords[0]}" in your answer.',
            'Your answer must contain the word "{keywords[0]}".',
            'Use the word "{keywords[0]}".',
        ),
        {"keywords": [[word] for word in WORDS]},
        ('Make sure that "{keywords[0]}" turns up somewhere.', 'Work the word "{keywords[0]}" into it.'),
    ),
    "few words": Family(
        "length_constraints:number_words",
        (
            "Answer with {relation} {num_words} words.",
            "Your answer should have fewer than {num_words} words.",
            "Use {relation} {num_words} words.",
        ),
        {"num_words": (10, 12, 15, 18, 20), "relation": ("less than",)},
        ("Stay below {num_words} words.", "{num_words} words would already be too many."),
    ),
    "many words": Family(  # without it, the shortest answer would be the best one
        "length_constraints:number_words",
        (
            "Answer with {relation} {num_words} words.",
            "Your answer should have {num_words} words or more.",
            "Use {relation} {num_words} words.",
        ),
        {"num_words": (15, 20, 25), "relation": ("at least",)},
        ("Do not stop before you have {num_words} words.", "{num_words} words are the least that will do."),
    ),
    "few sentences": Family(
        "length_constraints:number_sentences",
        (
            "Your answer should contain {relation} {num_sentences} sentences.",
            "Use fewer than {num_sentences} sentences.",
            "Answer with {relation} {num_sentences} sentences.",
        ),
        {"num_sentences": (2, 3), "relation": ("less than",)},
        ("Stay below {num_sentences} sentences.", "{num_sentences} sentences would already be too many."),
    ),
    "bullets": Family(
        "detectable_format:number_bullet_lists",
        (
            "Your answer must contain exactly {num_bullets} bullet points. Use the markdown bullet points such as: "
            "* This is point 1.",
            "Answer with exactly {num_bullets} bullet points, each on a line that begins with *.",
            "Write it as {num_bullets} bullet points in markdown.",
        ),
        {"num_bullets": (2, 3)},
        ("Make a list of {num_bullets} lines, with - before each.", "Give {num_bullets} points, marked with stars."),
    ),
    "postscript": Family(
        "detectable_content:postscript",
        (
            "At the end of your answer, please explicitly add a postscript starting with {postscript_marker}",
            "End with a postscript that starts with {postscript_marker}",
            "Add a postscript that begins with {postscript_marker}",
        ),
        {"postscript_marker": ("P.S.", "P.P.S")},
        ("Below it, write one more line after {postscript_marker}", "Close with {postscript_marker} and a remark."),
    ),
}

UNSEEN = {
    "lower case": Family(
        "change_case:english_lowercase",
        (
            "Your entire answer should be in English, and in all lowercase letters. No capital letters are allowed.",
            "Answer in lowercase letters only.",
        ),
    ),
    "ending": Family(
        "startend:end_checker",
        (
            'Finish your answer with this exact phrase: "{end_phrase}" No other words should follow it.',
            'The very end of your answer must be: "{end_phrase}"',
        ),
        {"end_phrase": ENDINGS},
    ),
    "last word": Family(
        "last_word:last_word_answer",
        ('The last word of your answer should be "{last_word}".', 'End your answer with the word "{last_word}".'),
        {"last_word": WORDS},
    ),
    "forbidden word": Family(
        "keywords:forbidden_words",
        ('Do not include the word "{forbidden_words[0]}" in the answer.', 'Avoid the word "{forbidden_words[0]}".'),
        {"forbidden_words": [[word] for word in ("is", "a", "can", "it", "you", "in")]},
    ),
    "word once": Family("keywords:word_once", ('Include the keyword "{keyword}" exactly once.',), {"keyword": WORDS}),
    "word twice": Family(
        "keywords:frequency",
        ('The word "{keyword}" should appear {relation} {frequency} times.',),
        {"keyword": WORDS, "frequency": (2,), "relation": ("at least",)},
    ),
    "letter": Family(
        "keywords:letter_frequency",
        ("The letter {letter} should appear {let_relation} {let_frequency} times.",),
        {"letter": ("o", "t", "a"), "let_frequency": (4, 6), "let_relation": ("less than",)},
    ),
    "capital words": Family(
        "change_case:capital_word_frequency",
        ("Words with all capital letters should appear {capital_relation} {capital_frequency} times.",),
        {"capital_frequency": (2, 3), "capital_relation": ("at least",)},
    ),
    "no full stop": Family("punctuation:punctuation_dot", ("Do not use any full stops.", "Write it without periods.")),
    "highlight": Family(
        "detectable_format:number_highlighted_sections",
        ("Highlight at least {num_highlights} part of your answer with markdown, i.e. *highlighted part*.",),
        {"num_highlights": (1,)},
    ),
    "placeholder": Family(
        "detectable_content:number_placeholders",
        (
            "The answer must contain at least {num_placeholders} placeholder represented by square brackets, such as "
            "[address].",
        ),
        {"num_placeholders": (1,)},
    ),
    "two paragraphs": Family("paragraphs:paragraphs2", ("There should be 2 paragraphs, separated by an empty line.",)),
}

ACTIVITIES = """
baking bread, growing tomatoes, learning the guitar, riding a bicycle, taking photos, swimming in a lake, knitting a
scarf, reading novels, walking a dog, painting a room, making soup, keeping bees, climbing hills, writing letters,
playing chess, watching birds, repairing shoes, singing in a choir, learning Spanish, camping in the woods, brewing
tea, collecting stamps, running in the park, cooking pasta, drawing faces, sailing a boat, planting trees, dancing,
saving money, telling stories, cleaning windows, building a shed, skating on ice, folding paper, fishing at dawn,
juggling, mending clothes, visiting museums, moving to a new town, hosting a dinner, getting up early, working from
home, meeting new people, feeding a cat, picking apples, packing a suitcase, learning to drive, making candles,
stretching, playing the piano, studying maps, carving wood, going to the market, riding a train, sewing buttons,
keeping a diary, making jam, washing a car, rowing, watching the stars
"""
THINGS = """
coffee, the moon, an old house, a rainy day, the sea, a good neighbour, winter, a library, breakfast, a train station,
a garden, honey, a long walk, the first day of school, an umbrella, a village, fresh snow, a birthday, a bridge,
friendship, a lazy Sunday, an orchard, a small shop, music, a warm bed, the desert, a lighthouse, spring, a picnic,
cheese, a bakery, a football match, a river, silence, a wooden chair, a summer night, the wind, a city park, a clock,
a campfire
"""
REQUESTS = {
    ACTIVITIES: (
        "Give one tip for {topic}.",
        "Why do people enjoy {topic}?",
        "Write a short note that invites a friend to try {topic}.",
        "What do you need for {topic}?",
        "Say in a sentence or two what is hard about {topic}.",
        "Write a short advertisement for a course on {topic}.",
    ),
    THINGS: (
        "Describe {topic} to a child.",
        "Write two sentences about {topic}.",
        "What do people like about {topic}?",
        "Write a short message to a friend about {topic}.",
        "What comes to your mind when you think of {topic}?",
    ),
}
SHARES = {"train": 0.6, "dev": 0.2, "unseen": 0.2}


def requests(rng: random.Random) -> dict[str, list[str]]:
    """Return the requests of each of SHARES. A topic is in one of them alone."""
    parts: dict[str, list[str]] = {part: [] for part in SHARES}
    for listed, templates in REQUESTS.items():
        topics = [topic.strip() for topic in listed.replace("\n", " ").split(",")]
        rng.shuffle(topics)
        start = 0
        for part, share in SHARES.items():
            end = start + round(share * len(topics))
            parts[part] += [template.format(topic=topic) for topic, template in product(topics[start:end], templates)]
            start = end
    return parts


def problems(
    families: Mapping[str, Family], asked: Sequence[str], each: int, rng: random.Random, *, reworded: bool = False
) -> list[dict[str, Any]]:
    """Return `each` problems of each family, the families in turn, no prompt twice."""
    ask = in_random_order(asked, rng)
    rows: dict[str, dict[str, Any]] = {}
    for name, family in list(families.items()) * each:
        size = len(rows)
        while len(rows) == size:
            given = {argument: rng.choice(values) for argument, values in family.arguments.items()}
            said = rng.choice(family.others if reworded else family.wordings).format(**given)
            prompt = f"{next(ask)} {said}"
            rows.setdefault(
                prompt, {"prompt": prompt, "instruction_id_list": [family.id], "kwargs": [given], "family": name}
            )
    return list(rows.values())


def in_random_order(texts: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Yield all texts in a random order, and then again in another, without end."""
    while True:
        yield from rng.sample(texts, len(texts))


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as JSONL and say how many."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows):,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    asked = requests(rng)
    write(options.out / "train.jsonl", problems(SEEN, asked["train"], 44, rng))
    write(options.out / "dev.jsonl", problems(SEEN, asked["dev"], 15, rng))
    write(options.out / "unseen.jsonl", problems(UNSEEN, asked["unseen"], 12, rng))
    write(options.out / "reworded.jsonl", problems(SEEN, asked["unseen"], 12, rng, reworded=True))


if __name__ == "__main__":
    main()
