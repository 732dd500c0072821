"""For each model family and each kind of row: the trained text that a person marks, or why the row is refused."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.load import load_data
from posttrain.data.masks import IGNORED, searched_spans, trained_spans
from posttrain.data.records import Chat
from posttrain.data.template import probe_turns
from posttrain.data.tokenize import tokenize_chats
from posttrain.errors import UserError
from posttrain.recipe.schema import Data

Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "the system"}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add_up", "arguments": {"x": 1, "s": "é"}}}
RESULT = {"role": "tool", "name": "add_up", "tool_call_id": "abcdefghi", "content": "42"}
PARAMETERS = {"type": "object", "properties": {"x": {"type": "integer"}, "s": {"type": "string"}}, "required": ["x"]}
TOOLS = [{"type": "function", "function": {"name": "add_up", "description": "Add.", "parameters": PARAMETERS}}]

ROWS: dict[str, tuple[list[Message], list[dict[str, Any]] | None]] = {
    "single": ([user("hi"), assistant("yes, you")], None),
    "multi": ([user("hi"), assistant("one"), user("more"), assistant("two")], None),
    "system": ([SYSTEM, user("hi"), assistant("one"), user("more"), assistant("two")], None),
    "weight": (
        [
            user("hi"),
            assistant("one", weight=0),
            user("more"),
            assistant("two"),
            user("x"),
            assistant("three", weight=0),
        ],
        None,
    ),
    "tools": (
        [user("hi"), assistant("", tool_calls=[CALL]), RESULT, assistant("it is 42"), user("ok"), assistant("bye")],
        TOOLS,
    ),
    "reasoning": (
        [user("hi"), assistant("one", reasoning_content="r1"), user("more"), assistant("two", reasoning_content="r2")],
        None,
    ),
    "tags": (
        [
            user("hi"),
            assistant("<think>\nr1\n</think>\n\none"),
            user("more"),
            assistant("<think>\nr2\n</think>\n\ntwo"),
        ],
        None,
    ),
}

R1, R2 = "<think>\nr1\n</think>\n\n", "<think>\nr2\n</think>\n\n"
NO_THOUGHT = "leaves out the thinking of the last turn"
NO_TOOLS = "leaves out the tools: add_up is not shown"
NO_CALL = "leaves out the call of add_up"


def ending(last: str, earlier: str | None = None, *, before: str = "", tools: list[str] | str) -> dict[str, Any]:
    """The marks of a family that ends its last turn with `last`, earlier ones with `earlier`, and knows no thoughts."""
    earlier = earlier or last
    first, second = f"{before}one{earlier}", f"{before}two{last}"
    return {
        "single": [f"{before}yes, you{last}"],
        "multi": [first, second],
        "system": [first, second],
        "weight": [f"{before}two{earlier}"],
        "tools": tools,
        "reasoning": NO_THOUGHT,
        "tags": [f"{before}{R1}one{earlier}", f"{before}{R2}two{last}"],
    }


QWEN_CALL = '<tool_call>\n{"name": "add_up", "arguments": {"x": 1, "s": "é"}}\n</tool_call><|im_end|>\n'
QWEN = ending("<|im_end|>\n", tools=[QWEN_CALL, "it is 42<|im_end|>\n", "bye<|im_end|>\n"])
LLAMA_CALL = '{"name": "add_up", "parameters": {"x": 1, "s": "é"}}<|eot_id|>'
LLAMA = ending("<|eot_id|>", tools=[LLAMA_CALL, "it is 42<|eot_id|>", "bye<|eot_id|>"])
MISTRAL_CALL = '[TOOL_CALLS] [{"name": "add_up", "arguments": {"x": 1, "s": "é"}, "id": "abcdefghi"}]</s>'
EMPTY = "<think>\n\n</think>\n\n"
FINAL, ANALYSIS = "<|channel|>final<|message|>", "<|channel|>analysis<|message|>"
GPTOSS_CALL = ' to=functions.add_up<|channel|>commentary json<|message|>{"x": 1, "s": "é"}<|call|>'
GPTOSS_THOUGHTS = [f"{FINAL}one<|end|>", f"{ANALYSIS}r2<|end|><|start|>assistant{FINAL}two<|return|>"]
OLMO_CALL = '<function_calls>add_up(x=1, s="é")</function_calls><|im_end|>\n'

BY_HAND: dict[str, dict[str, list[str] | str]] = {
    "llama3.1": LLAMA,
    "llama3.2": LLAMA,
    "llama3.3": LLAMA,
    "qwen2.5": QWEN,
    "qwen3": QWEN
    | {
        "single": [f"{EMPTY}yes, you<|im_end|>\n"],
        "multi": ["one<|im_end|>\n", f"{EMPTY}two<|im_end|>\n"],
        "system": ["one<|im_end|>\n", f"{EMPTY}two<|im_end|>\n"],
        "tools": [QWEN_CALL, "it is 42<|im_end|>\n", f"{EMPTY}bye<|im_end|>\n"],
        "reasoning": ["one<|im_end|>\n", f"{R2}two<|im_end|>\n"],
        "tags": ["one<|im_end|>\n", f"{R2}two<|im_end|>\n"],
    },
    "qwen3-2507": QWEN,
    "gemma3": ending("<end_of_turn>\n", tools="roles must alternate"),
    "mistral-v0.3": ending("</s>", before=" ", tools=[MISTRAL_CALL, " it is 42</s>", " bye</s>"])
    | {"system": "leaves out the system turn"},
    "ministral-3": ending("</s>", tools=['[TOOL_CALLS]add_up[ARGS]{"x": 1, "s": "é"}</s>', "it is 42</s>", "bye</s>"]),
    "phi3.5": ending("<|end|>\n<|endoftext|>", "<|end|>\n", tools=NO_TOOLS),
    "phi4": ending("<|im_end|>", tools=NO_TOOLS),
    "smollm2": ending("<|im_end|>\n", tools=NO_TOOLS),
    "smollm3": ending("<|im_end|>\n", tools=NO_TOOLS),  # it reads them under another name
    "gptoss": ending("<|return|>", "<|end|>", before=FINAL, tools=[])
    | {
        "tools": [GPTOSS_CALL, f"{FINAL}it is 42<|end|>", f"{FINAL}bye<|return|>"],
        "reasoning": GPTOSS_THOUGHTS,
        "tags": GPTOSS_THOUGHTS,
    },
    "olmo2": ending("<|endoftext|>", tools=NO_TOOLS),
    "olmo3": ending("<|endoftext|>", "<|im_end|>\n", tools=[OLMO_CALL, "it is 42<|im_end|>\n", "bye<|endoftext|>"]),
}
CASES = [(family, kind) for family in BY_HAND for kind in ROWS]


def trained_texts(
    tokenizer: Any, messages: list[Message], tools: list[dict[str, Any]] | None = None, **settings: Any
) -> list[list[str]]:
    """The trained texts of each token row that the conversation becomes."""
    done = tokenize_chats([Chat(messages, tools, "rows.jsonl:3")], tokenizer, max_length=None, **settings)
    found = []
    for row in done.rows:
        runs: list[list[int]] = [[]]
        for token, label in zip(row["input_ids"], row["labels"], strict=True):
            assert label in (token, IGNORED)
            if label != IGNORED:
                runs[-1].append(label)
            elif runs[-1]:
                runs.append([])
        found.append([tokenizer.decode(run) for run in runs if run])
    return found


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_trained_text_is_what_a_person_marks(family: Callable[[str], Any], name: str, kind: str) -> None:
    messages, tools = ROWS[kind]
    marked = BY_HAND[name][kind]
    if isinstance(marked, list):
        assert trained_texts(family(name), messages, tools) == [marked]
    else:
        with pytest.raises(UserError, match=marked) as caught:
            trained_texts(family(name), messages, tools)
        assert caught.value.where == "rows.jsonl:3"


@pytest.mark.parametrize("name", BY_HAND)
def test_a_call_without_schemas_is_trained_or_refused(family: Callable[[str], Any], name: str) -> None:
    """The rows' tools are not given: some templates write the call all the same, the others must not drop it."""
    messages, _ = ROWS["tools"]
    marked = BY_HAND[name]["tools"]
    if isinstance(marked, list):
        assert trained_texts(family(name), messages) == [marked]
    else:
        with pytest.raises(UserError, match=r"leaves out (the call of add_up|turn 2)|roles must alternate"):
            trained_texts(family(name), messages)


# thinking: strip and keep

STRIPPED = {
    "qwen3": ["one<|im_end|>\n", "two<|im_end|>\n"],  # the empty block belongs to the prompt
    "qwen2.5": ["one<|im_end|>\n", "two<|im_end|>\n"],
    "llama3.1": ["one<|eot_id|>", "two<|eot_id|>"],
    "gptoss": [f"{FINAL}one<|end|>", f"{FINAL}two<|return|>"],
}


@pytest.mark.parametrize("name", STRIPPED)
@pytest.mark.parametrize("kind", ["multi", "reasoning", "tags"])
def test_stripped_thoughts_are_nowhere(family: Callable[[str], Any], name: str, kind: str) -> None:
    messages, _ = ROWS[kind]
    assert trained_texts(family(name), messages, thinking="strip") == [STRIPPED[name]]
    text, _ = trained_spans(family(name), Chat(messages), probe_turns(family(name), "strip"))
    assert "r1" not in text and "r2" not in text


@pytest.mark.parametrize("kind", ["reasoning", "tags"])
def test_kept_thoughts_are_all_trained(family: Callable[[str], Any], kind: str) -> None:
    """Qwen3 and gpt-oss write a thought in the last turn alone: each trained turn becomes a row that it ends."""
    messages, _ = ROWS[kind]
    assert trained_texts(family("qwen3"), messages, thinking="keep") == [
        [f"{R1}one<|im_end|>\n"],
        [f"{R2}two<|im_end|>\n"],
    ]
    kept = trained_texts(family("gptoss"), messages, thinking="keep")
    assert kept == [[f"{ANALYSIS}r1<|end|><|start|>assistant{FINAL}one<|return|>"], GPTOSS_THOUGHTS[1:]]
    only_second = [messages[0], messages[1] | {"weight": 0}, *messages[2:]]
    assert trained_texts(family("qwen3"), only_second, thinking="keep") == [[f"{R2}two<|im_end|>\n"]]


def test_prompts_of_every_stage_say_whether_to_think(family: Callable[[str], Any]) -> None:
    from posttrain.data.records import Feedback, Preference, Problem
    from posttrain.data.tokenize import tokenize_feedback, tokenize_preferences, tokenize_problems

    tokenizer, asked = family("qwen3"), [user("hi")]
    prompts = [
        tokenize_problems([Problem(asked)], tokenizer, max_prompt_tokens=None, thinking="strip"),
        tokenize_preferences(
            [Preference(asked, [assistant("a")], [assistant("b")])], tokenizer, max_length=None, thinking="strip"
        ),
        tokenize_feedback([Feedback(asked, [assistant("a")], True)], tokenizer, max_length=None, thinking="strip"),
    ]
    for done in prompts:
        assert "<|im_start|>assistant\n<think>\n\n</think>" in tokenizer.decode(done.rows[0]["prompt_ids"])
    plain = tokenize_problems([Problem(asked)], tokenizer, max_prompt_tokens=None).rows[0]["prompt_ids"]
    assert tokenizer.decode(plain).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("name", BY_HAND)
def test_only_the_last_turn(family: Callable[[str], Any], name: str) -> None:
    messages, _ = ROWS["multi"]
    marked = BY_HAND[name]["multi"]
    assert trained_texts(family(name), messages, trained_turns="last") == [marked[-1:]]


# The fast way against the slow one


def same_spans(tokenizer: Any, chat: Chat, thinking: Any = "as_template") -> bool:
    """Compare the two on one row; whether it was written at all."""
    turns = probe_turns(tokenizer, thinking)
    try:
        slow = searched_spans(tokenizer, chat, turns)
    except UserError as error:
        with pytest.raises(UserError) as caught:
            trained_spans(tokenizer, chat, turns)
        assert str(caught.value) == str(error)
        return False
    for _ in range(2):  # the skeleton is learned, then known
        assert trained_spans(tokenizer, chat, turns) == slow
    return True


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_fast_way_equals_the_slow_one_on_the_table(family: Callable[[str], Any], name: str, kind: str) -> None:
    messages, tools = ROWS[kind]
    if not (name == "gptoss" and kind == "tags"):  # moved into reasoning_content first
        assert same_spans(family(name), Chat(messages, tools, "p")) == isinstance(BY_HAND[name][kind], list)


WORDS = ["yes", "é", "☃", "日本", "{x}", "{{ y }}", "%", "<b>", "</b>", "\n\n", " ", "a\u00a0b", "🙂", "user",
         "assistant", "<|im_end|>", "<|im_start|>assistant\n", "<|eot_id|>", "</s>", "[INST]", "<think>", "</think>",
         "/no_think", "<tool_response>", "<|end|>", "\\n", '"', "\r\n"]  # fmt: skip


def random_chat(rng: random.Random) -> Chat:
    """A conversation of odd words, blank edges, special tokens, weights and thoughts."""

    def words() -> str:
        plain = rng.random() < 0.5
        return "".join(rng.choice(WORDS[:10] if plain else WORDS) for _ in range(rng.randint(1, 6)))

    messages: list[Message] = [{"role": "system", "content": words()}] if rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 4)):
        thought = {"reasoning_content": words()} if rng.random() < 0.15 else {}
        weight = {"weight": rng.choice([0, 1])} if rng.random() < 0.3 else {}
        messages += [user(words()), assistant(words(), **thought, **weight)]
    return Chat(messages, None, "p")


@pytest.mark.parametrize("name", BY_HAND)
def test_the_fast_way_equals_the_slow_one_on_generated_rows(family: Callable[[str], Any], name: str) -> None:
    rng = random.Random(name)
    written = 0
    for _ in range(40):
        written += same_spans(family(name), random_chat(rng))
    assert written > 15


VALUES = [1, -2.5, True, None, "", "é", 'a "quote"', "back\\slash", "two\nlines", "日本 🙂", [], [1, [2, {"x": []}]],
          {"deep": {"er": ["☃", None]}}, "</b> {{ y }}"]  # fmt: skip
RESULTS = [
    "42",
    "",
    '{"ok": true, "text": "é\\n"}',
    " blank edges \n",
    "two\nlines",
    '"quoted"',
    "user: hi",
    "assistant",
]
ODD_RESULTS = [
    "<|im_end|>\n<|im_start|>assistant\nno",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "</s>",
    "<tool_call>",
    "</tool_response>",
    "<|start|>assistant",
    "[/TOOL_RESULTS]",
    "<|eot_id|>",
    "<think>x</think>",
]
NAMES = ["add_up", "find", "get.time-2", "x"]


def random_tool_chat(rng: random.Random) -> Chat:
    """A conversation with calls of tools, of one of a few shapes; in one of four, words that look like the template."""
    odd = rng.random() < 0.25
    ids = itertools.count()

    def call_and_results(several: bool, text: str) -> list[Message]:
        calls, results = [], []
        for _ in range(2 if several else 1):
            name, number = rng.choice(NAMES), f"call{next(ids):05}"
            arguments = {rng.choice("xyé☃"): rng.choice(VALUES) for _ in range(rng.randint(0, 3))}
            calls.append({"id": number, "type": "function", "function": {"name": name, "arguments": arguments}})
            content = rng.choice(ODD_RESULTS if odd else RESULTS)
            results.append({"role": "tool", "name": name, "tool_call_id": number, "content": content})
        return [assistant(text, tool_calls=calls), *results]

    messages: list[Message] = [SYSTEM] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 3)):
        messages.append(user(rng.choice(WORDS[:7]) + rng.choice(WORDS if odd else WORDS[:10])))
        text = rng.choice(["", "", "", "let me see"])
        messages += call_and_results(rng.random() < 0.2, text) if rng.random() < 0.7 else []
        weight = {"weight": rng.choice([0, 1])} if rng.random() < 0.2 else {}
        messages.append(assistant(rng.choice(WORDS[:7]), **weight))
    if rng.random() < 0.3 and messages[-1]["role"] == "assistant":
        messages += [user("again"), call_and_results(False, "")[0]]
    shown = rng.random() < 0.8
    tools = [
        {"type": "function", "function": {"name": name, "description": rng.choice(WORDS), "parameters": PARAMETERS}}
        for name in rng.sample(NAMES, rng.randint(1, 4))
    ]
    return Chat(messages, tools if shown else None, "p")


@pytest.mark.parametrize("name", BY_HAND)
def test_the_fast_way_equals_the_slow_one_on_generated_calls(family: Callable[[str], Any], name: str) -> None:
    """The skeletons are shared between the rows: one learned from a row is what the next of its shape is read with."""
    tokenizer, rng = family(name), random.Random(name)
    turns = probe_turns(tokenizer)
    for chat in [random_tool_chat(rng) for _ in range(60)]:
        try:
            slow = searched_spans(tokenizer, chat, turns)
        except UserError as error:
            with pytest.raises(UserError) as caught:
                trained_spans(tokenizer, chat, turns)
            assert str(caught.value) == str(error)
        else:
            assert trained_spans(tokenizer, chat, turns) == slow


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3", "llama3.1", "gptoss", "mistral-v0.3"])
def test_rows_with_calls_take_the_fast_way(
    family: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Once their shape is known, with any tools, arguments and results, no row is searched."""
    from posttrain.data import masks

    turns = probe_turns(family(name))

    def row(number: int, value: Any) -> Chat:
        call = {"id": f"call{number:05}", "function": {"name": NAMES[number], "arguments": {"x": value, "é": [value]}}}
        result = {"role": "tool", "name": NAMES[number], "tool_call_id": f"call{number:05}", "content": str(value)}
        messages = [
            user("hi"),
            assistant("", tool_calls=[call]),
            result,
            assistant("done"),
            user("and"),
            assistant("no"),
        ]
        tools = [
            {"type": "function", "function": TOOLS[0]["function"] | {"name": each}} for each in NAMES[: number + 1]
        ]
        return Chat(messages, tools, "p")

    rows = [row(number, value) for number, value in enumerate((1, 'say "é"', {"deep": [None]}))]
    slow = [searched_spans(family(name), each, turns) for each in rows]
    trained_spans(family(name), rows[0], turns)
    monkeypatch.setattr(masks, "searched_spans", lambda *_: pytest.fail("searched"))
    assert [trained_spans(family(name), each, turns) for each in rows] == slow


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3", "llama3.1", "gptoss"])
@pytest.mark.slow
def test_the_fast_way_equals_the_slow_one_on_real_calls(
    family: Callable[[str], Any], shared_data: Path, name: str
) -> None:
    tokenizer, turns = family(name), probe_turns(family(name))
    for file in ("zava_sft_test.jsonl.gz", "stock_toolcall_validation.jsonl"):
        for chat in load_data(Data(train=[{"path": str(shared_data / "sft" / file)}]), "sft", seed=1).train[:40]:
            assert trained_spans(tokenizer, chat, turns) == searched_spans(tokenizer, chat, turns)


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_finding_the_spans_costs_about_one_rendering(family: Callable[[str], Any], name: str) -> None:
    from posttrain.data.template import render

    tokenizer = family(name)
    turns = probe_turns(tokenizer)
    rows = [
        Chat([user(f"what is {i} + 1?"), assistant(f"it is {i + 1}"), user("sure?"), assistant(f"yes, {i}")])
        for i in range(200)
    ]
    trained_spans(tokenizer, rows[0], turns)

    def seconds(work: Callable[[Chat], Any]) -> float:
        start = time.process_time()
        for row in rows:
            work(row)
        return time.process_time() - start

    once = min(seconds(lambda row: render(tokenizer, row.messages)) for _ in range(5))
    found = min(seconds(lambda row: trained_spans(tokenizer, row, turns)) for _ in range(5))
    assert found < 2.5 * once  # five renderings and more, the slow way
