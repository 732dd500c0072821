from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.evals.offline import grade_file, render

ROWS = [{"answer": 5, "completion": "so 5"}, {"answer": 6, "completion": "Answer: 7"}]


def written(folder: Path, grader: str, rows: list[object], name: str = "grader.yaml") -> tuple[Path, Path]:
    (folder / name).write_text(grader)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name, folder / "rows.jsonl"


def test_the_document(tmp_path: Path) -> None:
    document = grade_file(*written(tmp_path, "type: number\n", ROWS))
    assert document == {
        "rows": [
            {"score": 1.0, "passed": True, "error": "", "note": "", "parts": []},
            {"score": 0.0, "passed": False, "error": "", "note": "answer 7, expected 6", "parts": []},
        ],
        "mean": 0.5,
        "passed": 1,
        "errors": 0,
        "error_kinds": {},
    }
    assert json.loads(json.dumps(document)) == document
    assert render(document).splitlines() == [
        "row 2: 0  answer 7, expected 6",
        "passed 1 of 2, mean 0.5000, grader errors 0",
    ]


def test_json_graders_and_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def grade(completion, problem):\n    return 1 / problem['answer']\n")
    grader = '{\n\t"type": "python",\n\t"path": "mine.py:grade"\n}'
    document = grade_file(*written(tmp_path, grader, [{"answer": n, "completion": ""} for n in (1, 2, 0)], "g.json"))
    assert [row["score"] for row in document["rows"]] == [1.0, 0.5, None]
    assert (document["mean"], document["passed"], document["errors"]) == (0.75, 1, 1)
    assert document["error_kinds"] == {"python_grader_runtime_error": 1}
    assert "row 3: error  python_grader_runtime_error: ZeroDivisionError" in render(document)
    assert render(document).endswith("grader errors 1 (python_grader_runtime_error 1)")


def test_rows_of_openais_evals(tmp_path: Path) -> None:
    rows: list[object] = [
        {"item": {"answer": 5}, "completion": "so 5"},
        {"item": {"answer": 6}, "sample": {"output_text": "Answer: 7"}},
    ]
    document = grade_file(*written(tmp_path, "type: number\n", rows))
    assert [row["passed"] for row in document["rows"]] == [True, False]
    with pytest.raises(UserError, match="the row has no `completion`"):
        grade_file(*written(tmp_path, "type: number\n", [{"item": {"answer": 5}, "sample": {}}]))


def test_json_is_read_as_json(tmp_path: Path) -> None:
    """An emoji in two escapes is one character, and what is not JSON is said with its line."""
    check = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "\U0001f642", "operation": "eq"}
    document = grade_file(*written(tmp_path, json.dumps(check), [{"completion": "\U0001f642"}], "g.json"))
    assert document["passed"] == 1
    with pytest.raises(UserError, match=r"g\.json:2: not valid JSON: Expecting property name"):
        grade_file(*written(tmp_path, '{"type": "number",\n}', ROWS, "g.json"))


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ("type: nmber\n", "grader.yaml:1 type: must be 'number'"),
        ("type: string_chek\nname: x\n", "Did you mean 'string_check'?"),
        ("type: string_check\nname: x\n", "grader.yaml:1 input: missing"),
        ("type: number\ntolerence: 1\n", "grader.yaml:2 tolerence: unknown key. Did you mean 'tolerance'?"),
        ("type: number\ntype: math\n", "grader.yaml:2 type: duplicate key"),
        ("type: pattern\npattern: (\n", "grader.yaml:2 pattern: not a regular expression"),
        ("- type: number\n", "not a grader"),
        ("type: [\n", "not valid YAML"),
    ],
)
def test_a_grader_file_to_mend(tmp_path: Path, grader: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        grade_file(*written(tmp_path, grader, ROWS))
    assert message in str(error.value)


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        {"answer": 5},
        {"answer": 5, "completion": 5},
        {"answer": "five", "completion": ""},
        {"completion": ""},
    ]
    with pytest.raises(UserError) as error:
        grade_file(*written(tmp_path, "type: number", rows))
    text = str(error.value)
    for number, message in (
        (3, "no `completion`"),
        (4, "must be text"),
        (5, "not a number"),
        (6, "no field"),
    ):
        assert any(f"rows.jsonl:{number}: " in line and message in line for line in text.splitlines())


def test_missing_files(tmp_path: Path) -> None:
    grader, rows = written(tmp_path, "type: number", ROWS)
    with pytest.raises(UserError, match="cannot read the grader"):
        grade_file(tmp_path / "absent.yaml", rows)
    with pytest.raises(UserError, match="no file"):
        grade_file(grader, tmp_path / "absent.jsonl")
