"""The recipe's data section to records: sampling, splits, overlap, notes and digests."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.load import Loaded, load_data
from posttrain.data.records import Chat, Feedback, Preference, Problem
from posttrain.errors import UserError
from posttrain.recipe.schema import Data, Source


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def chats(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"prompt": f"q{index}", "completion": f"a{index}"} for index in range(start, start + count)]


def load(stage: str = "sft", seed: int = 7, parts: tuple[str, ...] = ("train", "dev"), **data: Any) -> Loaded:
    return load_data(Data(**data), stage, seed=seed, parts=parts, place=lambda key: f"sft.yaml {key}")


def prompts(records: list[Any]) -> list[str]:
    return [(record.messages if isinstance(record, Chat) else record.prompt)[0]["content"] for record in records]


def test_training_rows_are_shuffled_by_the_seed_alone(tmp_path: Path) -> None:
    train = [{"path": write(tmp_path / "a.jsonl", chats(50))}]
    first, again, other = (load(train=train, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert prompts(first.train) != prompts(other.train)
    assert first.digest != other.digest
    assert sorted(prompts(first.train)) == sorted(prompts(other.train)) == sorted(f"q{i}" for i in range(50))
    assert prompts(first.train) != [f"q{i}" for i in range(50)]


def test_the_digest_does_not_know_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    digests = [
        load(train=[{"path": write(path, chats(5))}]).digest for path in (tmp_path / "a.jsonl", tmp_path / "b/c.jsonl")
    ]
    assert digests[0] == digests[1] != load(train=[{"path": write(tmp_path / "a.jsonl", chats(6))}]).digest


def test_a_mixture_by_shares_and_by_temperature(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl", chats(90)), write(tmp_path / "two.jsonl", chats(10, 100))

    def taken(mix: dict[str, Any], *more: dict[str, Any]) -> tuple[int, int]:
        loaded = load(train=[{"path": one, **more[0]}, {"path": two, **more[1]}], mix=mix)
        small = sum(int(prompt[1:]) >= 100 for prompt in prompts(loaded.train))
        notes = [note for note in loaded.notes if "took" in note]
        assert len(notes) == 2 and f"took {len(loaded.train) - small:,} of 90" in notes[0]
        return len(loaded.train) - small, small

    shares = ({"share": 3}, {"share": 1})
    assert taken({"rows": 20}, *shares) == (15, 5)
    assert taken({}, *shares) == (30, 10)  # as many as can be had without taking one twice
    assert taken({"rows": 80, "repeat": True}, *shares) == (60, 20)
    assert taken({"rows": 40, "temperature": 2}, {}, {}) == (30, 10)  # 3 to 1: the square roots of 90 and 10
    assert taken({"rows": 8, "temperature": 2}, {"limit": 10}, {}) == (4, 4)
    first, again = (load(train=[{"path": one, "share": 1}], mix={"rows": 5}) for _ in range(2))
    assert prompts(first.train) == prompts(again.train)
    with pytest.raises(UserError, match=r"two\.jsonl has 10 rows, and 20 are asked of it"):
        taken({"rows": 80}, *shares)


def test_limits_and_weights(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl", chats(20)), write(tmp_path / "two.jsonl", chats(20, 100))
    loaded = load(train=[{"path": one, "limit": 5}, {"path": two, "weight": 2.5}])
    counts = Counter(prompts(loaded.train))
    assert sum(int(prompt[1:]) < 100 for prompt in counts) == 5
    assert Counter(count for prompt, count in counts.items() if int(prompt[1:]) >= 100) == {2: 10, 3: 10}
    assert len(load(train=[{"path": one, "weight": 0.5}]).train) == 10
    assert len(load(train=[{"path": one, "weight": 0.001}]).train) == 1
    assert len(load(train=[{"path": one, "limit": 99}]).train) == 20
    sampled = [index for index in map(str, range(20)) if f"q{index}" in counts]
    assert sampled != [str(index) for index in range(5)]  # not just the first ones


def test_a_held_out_fraction_keeps_prompts_whole_and_is_stable(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index // 4}", "completion": f"a{index}"} for index in range(400)]
    data = {"train": [{"path": write(tmp_path / "a.jsonl", rows)}], "dev": {"fraction": 0.1}}
    loaded = load(**data)
    held, trained = set(prompts(loaded.dev)), set(prompts(loaded.train))
    assert len(loaded.dev) == 40 and len(loaded.train) == 360
    assert not held & trained and len(held) == 10
    assert loaded == load(**data)
    assert set(prompts(load(seed=8, **data).dev)) != held
    more = {**data, "train": [{"path": write(tmp_path / "b.jsonl", [*rows, *chats(4, 900)])}]}
    assert len(set(prompts(load(**more).dev)) & held) >= 9  # rows added elsewhere move almost nothing
    assert load(parts=("dev",), **data).dev == loaded.dev and not load(parts=("dev",), **data).train


def test_copies_by_weight_are_held_out_once(tmp_path: Path) -> None:
    loaded = load(train=[{"path": write(tmp_path / "a.jsonl", chats(40)), "weight": 3}], dev={"fraction": 0.25})
    assert set(Counter(prompts(loaded.dev)).values()) == {1} and len(loaded.dev) == 10
    assert set(Counter(prompts(loaded.train)).values()) == {3} and len(loaded.train) == 90


def test_one_prompt_cannot_be_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "q", "completion": str(index)} for index in range(9)])
    with pytest.raises(UserError, match="every row has the same prompt"):
        load(train=[{"path": path}], dev={"fraction": 0.5})


@pytest.mark.parametrize("part", ["dev", "unseen"])
def test_a_held_out_row_that_is_also_trained_on_is_refused(tmp_path: Path, part: str) -> None:
    train = write(tmp_path / "train.jsonl", chats(10))
    held = write(tmp_path / "held.jsonl", [*chats(3, 50), *chats(1, 4)])
    with pytest.raises(UserError, match=f"1 of 4 {part} rows are also training rows") as caught:
        load(train=[{"path": train}], **{part: [{"path": held}]})
    assert "held.jsonl:4 is the same as" in str(caught.value) and "train.jsonl:5" in str(caught.value)
    assert caught.value.where == f"sft.yaml data.{part}"


def test_a_problem_overlaps_by_its_prompt_a_chat_by_all_of_it(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"prompt": "q", "answer": "1", "completion": "x"}])
    dev = write(tmp_path / "b.jsonl", [{"prompt": "q", "answer": "2", "completion": "y"}])
    assert len(load("sft", train=[{"path": train}], dev=[{"path": dev}]).dev) == 1
    with pytest.raises(UserError, match="1 of 1 dev rows"):
        load("rlvr", train=[{"path": train}], dev=[{"path": dev}])


def test_held_out_files_keep_their_order_and_are_read_when_asked(tmp_path: Path) -> None:
    data = {
        "dev": [{"path": write(tmp_path / "d.jsonl", chats(30))}],
        "unseen": [{"path": str(tmp_path / "no.jsonl")}],
    }
    loaded = load("eval", parts=("dev",), **data)
    assert prompts(loaded.dev) == [f"q{index}" for index in range(30)] and not loaded.unseen
    with pytest.raises(UserError, match="no file"):
        load("eval", parts=("unseen",), **data)


def test_the_system_prompt_goes_to_rows_without_one(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "q"}]}]
    rows.append({"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "r"}]})
    loaded = load("rlvr", train=[{"path": write(tmp_path / "a.jsonl", rows)}], system="ours")
    assert sorted(prompts(loaded.train)) == ["ours", "own"]
    assert {record.fields["prompt"] for record in loaded.train if isinstance(record, Problem)} == {"q", "r"}


def test_rows_that_teach_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    user = {"role": "user", "content": "q"}
    said = [{"role": "assistant", "content": text} for text in ("a", "b", "")]
    rows: list[dict[str, Any]] = [
        {"chosen": [user, said[0]], "rejected": [user, said[1]]},
        {"chosen": [user, said[0]], "rejected": [user, said[0]]},
        {"chosen": [user, said[2]], "rejected": [user, said[1]]},
        {"chosen": [user, said[0], user, said[1]], "rejected": [user, said[1], user, said[0]]},
    ]
    loaded = load("dpo", train=[{"path": write(tmp_path / "a.jsonl", rows)}])
    assert len(loaded.train) == 1
    left_out = [note.rpartition("left out ")[2] for note in loaded.notes if "left out" in note]
    assert left_out == [
        "1 row: chosen and rejected are the same",
        "1 row: an empty chosen answer",
        "1 row: chosen and rejected answer different prompts",
    ]
    with pytest.raises(UserError, match="none of the 1 rows can be used"):
        load("dpo", train=[{"path": write(tmp_path / "b.jsonl", rows[1:2])}])


def test_notes_say_the_format_the_repeats_and_the_labels(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": f"a{index % 3}", "label": "up"} for index in range(4)]
    notes = load("kto", train=[{"path": write(tmp_path / "a.jsonl", rows)}]).notes
    assert notes[0].endswith("a.jsonl: 4 rows of prompt/completion/label")
    assert "1 of 4 training rows repeat another one exactly; they are kept" in notes
    assert "labels: 4 up, 0 down" in notes
    assert any(note.startswith("warning: every label is up") for note in notes)


def test_real_sets(shared_data: Path) -> None:
    pairs = load("dpo", train=[{"path": str(shared_data / "dpo/hh_harmless_base_test.jsonl.gz")}])
    assert all(isinstance(pair, Preference) for pair in pairs.train)
    assert len(pairs.train) == 2312 - sum(int(note.split("left out ")[1].split()[0]) for note in pairs.notes[1:])
    thumbs = load("kto", train=[{"path": str(shared_data / "kto/llamafactory_kto_en_demo.jsonl.gz")}])
    assert Counter(record.label for record in thumbs.train if isinstance(record, Feedback)).total() == 300
    columns = {"prompt": "input", "answer": "target"}
    gsm = {"path": str(shared_data / "math/gsm8k_train.jsonl.gz"), "limit": 1000}
    hard = {"path": str(shared_data / "math/gsm_hard.jsonl.gz"), "columns": columns}
    problems = load("rlvr", parts=("train", "dev", "unseen"), train=[gsm], dev={"fraction": 0.05}, unseen=[hard])
    assert (len(problems.train), len(problems.dev), len(problems.unseen)) == (950, 50, 1319)
    for record in (*problems.dev, *problems.unseen):
        assert isinstance(record, Problem) and "answer" in record.fields


def test_the_light_part_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'transformers', 'datasets'}"
    check = f"import sys, posttrain.data.load; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_problem_asked_under_another_system_prompt_or_in_a_later_turn_is_the_same(tmp_path: Path) -> None:
    def chat(*turns: tuple[str, str]) -> str:
        return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})

    (tmp_path / "problems.jsonl").write_text('{"prompt": "2+2?", "answer": 4}\n')
    rows = tmp_path / "rows.jsonl"
    for asked in (
        [("system", "Be brief."), ("user", "2+2?"), ("assistant", "4")],
        [("user", "2+2?"), ("assistant", "4"), ("user", "More?"), ("assistant", "5")],
    ):
        rows.write_text(chat(*asked) + "\n")
        data = Data(train=[Source(path=str(rows))], problems=[Source(path=str(tmp_path / "problems.jsonl"))])
        with pytest.raises(UserError, match="1 of 1 problems rows are also training rows"):
            load_data(data, "sft", seed=0)
    rows.write_text(chat(("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"), ("assistant", "4")) + "\n")
    assert load_data(data, "sft", seed=0).problems  # asked after other turns it is another question


def test_held_out_rows_are_counted_without_the_copies_of_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}", "completion": f"c{i}"}) + "\n" for i in range(10)))
    data = Data.model_validate({"train": [{"path": str(path), "weight": 3}], "dev": {"fraction": 0.1}})
    loaded = load_data(data, "sft", seed=0)
    assert (len(loaded.train), len(loaded.dev)) == (27, 1)
    assert "dev: held out 1 of 10 training rows, by prompt" in loaded.notes
