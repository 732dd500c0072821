"""TRL's reward in the benchmark: posttrain's own grader, so that both sides pay the same for a reward."""

from posttrain.graders import build_all, grade_all
from posttrain.graders.table import settings_of

# How alike the completion and the answer are: hardly ever equal within a group, and cheap.
GRADER = {
    "type": "text_similarity",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
}
_GRADERS = build_all([settings_of(GRADER)], None)


def reward(completions, answer, **_):
    texts = [completion[0]["content"] for completion in completions]
    grades = grade_all(_GRADERS, texts, [{"answer": each} for each in answer])
    return [grade.score for grade in grades]
