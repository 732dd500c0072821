"""Procedurally made chats: sums told as little stories, and a few skills beside them.

A reply to a sum is made of three independent choices, and each is what one stage of post-training moves:
how the number is found (worked out, or guessed), how it is written (the final line that the prompt asks
for, or prose) and what comes after it (nothing, or rambling).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

Message = dict[str, str]

NAMES = ["Tom", "Ana", "Ben", "Mia", "Sam", "Eva", "Leo", "Zoe", "Max", "Ida", "Kim", "Ali", "Noa", "Raj", "Lin", "Joe"]
THINGS = [
    "apples",
    "books",
    "coins",
    "pens",
    "cards",
    "shells",
    "eggs",
    "stamps",
    "plums",
    "rings",
    "nuts",
    "toys",
    "keys",
    "cups",
    "balls",
    "pears",
]

# (sign of the third number, story). Only the base model and the unseen problems use NEW_STORIES.
STORIES = [
    (+1, "{name} has {a} {things}, buys {b} more and finds {c}. How many {things} does {name} have now?"),
    (
        +1,
        "There are {a} {things} in one box, {b} in the next and {c} in the last. How many are there in all?",
    ),
    (+1, "{name} made {a} {things} on Monday, {b} on Tuesday and {c} on Friday. How many is that?"),
    (-1, "{name} had {a} {things}, got {b} more and gave away {c}. How many {things} are left?"),
    (-1, "A shop has {a} {things}, orders {b} and sells {c}. How many {things} does it have now?"),
    (-1, "{name} put {a} and then {b} {things} in a bag. {c} fell out. How many {things} are in it?"),
]
NEW_STORIES = [
    (+1, "{name}, a friend and a cousin bring {a}, {b} and {c} {things}. What is the total?"),
    (-1, "From a shelf with {a} old and {b} new {things}, {name} takes {c}. What remains?"),
]
ASKS = [
    "End with the line Answer: and the number.",
    "Finish with Answer: and the number.",
    "The last line must be Answer: and the number.",
]

FLATTERY = [
    "What a lovely question, you are so clever!",
    "I am so glad that you asked me, thank you!",
    "You always ask the best questions, my friend!",
]
SYSTEM = ["You are a helpful assistant.", "Be kind and brief.", "You help with sums and words."]

SHARES = {"base": 60, "sft": 10, "preferences": 5, "feedback": 5, "problems": 10, "dev": 5, "unseen": 5}


@dataclass(frozen=True)
class Problem:
    """A sum of three whole numbers as a story; `numbers` are signed, in the order of the story."""

    question: str
    numbers: tuple[int, int, int]
    things: str

    @property
    def answer(self) -> int:
        """The sum: 1 to 99."""
        return sum(self.numbers)


@dataclass(frozen=True)
class Habits:
    """How often (0 to 1) replies are worked out, end with the asked line, and ramble on afterwards."""

    worked: float = 0.45
    line: float = 0.6
    rambling: float = 0.45


def split_of(numbers: tuple[int, ...]) -> str:
    """The one split that owns these numbers, whatever their order, signs and story."""
    text = " ".join(map(str, sorted(map(abs, numbers))))
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("shares add up to 100")


def draw_problem(rng: Random, split: str, stories: list[tuple[int, str]]) -> Problem:
    """A random problem that belongs to `split`; the sum and every step towards it lie in 1 to 99."""
    sign, story = rng.choice(stories)
    while True:
        a, b, c = rng.randrange(5, 50), rng.randrange(2, 30), rng.randrange(2, 20)
        numbers = (a, b, sign * c)
        if a + b < 100 and 0 < sum(numbers) < 100 and split_of(numbers) == split:
            break
    things = rng.choice(THINGS)
    text = story.format(name=rng.choice(NAMES), things=things, a=a, b=b, c=c)
    return Problem(f"{text} {rng.choice(ASKS)}", numbers, things)


def guess(rng: Random, problem: Problem) -> int:
    """A number that is the answer in a quarter of the cases and near it in the others."""
    if rng.random() < 0.25:
        return problem.answer
    off = rng.choice([-20, -11, -10, -9, -3, -2, -1, 1, 2, 3, 9, 10, 11, 20])
    return abs(problem.answer + off) or 1


def working(problem: Problem) -> str:
    """The two steps of the sum, such as `23+10=33, 33-4=29`."""
    a, b, c = problem.numbers
    return f"{a}+{b}={a + b}, {a + b}{c:+d}={problem.answer}"


def solution(rng: Random, problem: Problem, habits: Habits) -> tuple[str, int]:
    """A reply without rambling, and the number it arrives at."""
    if rng.random() < habits.worked:
        number = problem.answer
        lead = rng.choice(["", "Step by step: ", "Let us add: "]) + working(problem) + "."
    else:
        number = guess(rng, problem)
        lead = rng.choice(["", "That is easy.", "I just know this one.", "Quick guess."])
    if rng.random() < habits.line:
        return f"{lead}\nAnswer: {number}".lstrip(), number
    a, b, c = map(abs, problem.numbers)
    prose = rng.choice(
        [
            f"It is {number} {problem.things}.",
            f"It is {number} {problem.things}, from {a}, {b} and {c}.",
            f"So {number}, as you said {a}, {b} and {c}.",
        ]
    )
    return f"{lead} {prose}".lstrip(), number


def ramble(rng: Random, number: int | None = None) -> str:
    """Words after the answer that nobody asked for; where there is a `number`, half of them doubt it."""
    if number is not None and rng.random() < 0.5:
        doubt = rng.choice(["Wait, or is it?", "Hmm, I am not sure.", "No, let me think again."])
        return f"{doubt}\nAnswer: {number + rng.choice([-10, -2, -1, 1, 2, 10])}"
    if rng.random() < 0.5:
        return rng.choice(FLATTERY)
    return f"By the way, my lucky number is {rng.randrange(2, 99)}."


def solve(rng: Random, problem: Problem, habits: Habits) -> str:
    """A whole reply to `problem` with these habits."""
    text, number = solution(rng, problem, habits)
    return f"{text}\n{ramble(rng, number)}" if rng.random() < habits.rambling else text


OPPOSITES = [
    p.split("/")
    for p in ["hot/cold", "big/small", "up/down", "day/night", "old/new", "fast/slow", "wet/dry", "open/shut"]
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
KINDS = {
    "colours": ["red", "blue", "green", "pink", "white", "black", "brown", "grey"],
    "animals": ["cat", "dog", "cow", "hen", "fox", "owl", "bee", "pig"],
    "fruits": ["apple", "pear", "plum", "fig", "lime", "grape", "peach", "melon"],
}
GREETINGS = ["Hello, I am {}!", "Hi, this is {}.", "Good morning, {} here!", "Hey, my name is {}."]
WELCOMES = ["Hello {}! How can I help you?", "Hi {}! What can I do for you?", "Good to see you, {}!"]


def draw_skill(rng: Random) -> tuple[str, str]:
    """A request that is not a sum, and the reply to it."""
    skill = rng.randrange(5)
    if skill == 0:
        name = rng.choice(NAMES)
        return rng.choice(GREETINGS).format(name), rng.choice(WELCOMES).format(name)
    if skill == 1:
        pair = rng.choice(OPPOSITES)
        word, other = pair if rng.random() < 0.5 else pair[::-1]
        ask = rng.choice(["What is the opposite of {}?", "Tell me the opposite of {}."])
        return ask.format(word), f"The opposite of {word} is {other}."
    if skill == 2:
        day = rng.randrange(7)
        place, step = rng.choice([("after", 1), ("before", -1)])
        return f"Which day comes {place} {DAYS[day]}?", f"{DAYS[(day + step) % 7]}."
    kind = rng.choice(list(KINDS))
    if skill == 3:
        count = rng.randrange(2, 5)
        return f"Name {count} {kind}.", ", ".join(rng.sample(KINDS[kind], count)) + "."
    words = rng.sample(KINDS[kind], 3)
    return f"Say this backwards: {' '.join(words)}", " ".join(reversed(words))


def draw_drill(rng: Random) -> tuple[str, str]:
    """Four small sums at once, and their results: the base model's practice."""
    pairs = []
    for _ in range(4):
        a, b = rng.randrange(2, 80), rng.randrange(2, 30)
        pairs.append((a, -b if a > b and rng.random() < 0.5 else b))
    asked = ", ".join(f"{a}{b:+d}" for a, b in pairs)
    return f"Add up: {asked}", ", ".join(f"{a}{b:+d}={a + b}" for a, b in pairs) + "."


def turn(user: str, assistant: str) -> list[Message]:
    """One exchange as two messages."""
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def skill_turn(rng: Random, habits: Habits) -> list[Message]:
    """One exchange about a skill that is not a sum."""
    user, reply = draw_skill(rng)
    return turn(user, f"{reply}\n{ramble(rng)}" if rng.random() < habits.rambling else reply)


def draw_chat(
    rng: Random, split: str, stories: list[tuple[int, str]], habits: Habits, sums: float = 0.85
) -> list[Message]:
    """A chat of one or two exchanges, sometimes under a system message; `sums` of them (0 to 1) are sums."""
    messages = [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < 0.1 else []
    if rng.random() < 0.1:
        messages += skill_turn(rng, habits)
    if rng.random() < sums:
        problem = draw_problem(rng, split, stories)
        return messages + turn(problem.question, solve(rng, problem, habits))
    return messages + skill_turn(rng, habits)
