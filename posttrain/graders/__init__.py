"""Graders: is this completion right? Declared in a recipe, free of torch, one for training and evaluation."""

from __future__ import annotations

from posttrain.graders.combine import check_problem, check_problems, grade_all, part_names
from posttrain.graders.grade import BadProblem, Grade, Grader, GraderSettings, Part
from posttrain.graders.table import GRADERS, AnyGrader, build, build_all, check_together

__all__ = [
    "GRADERS",
    "AnyGrader",
    "BadProblem",
    "Grade",
    "Grader",
    "GraderSettings",
    "Part",
    "build",
    "build_all",
    "check_problem",
    "check_problems",
    "check_together",
    "grade_all",
    "part_names",
]
