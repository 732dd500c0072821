"""Grader `math`.

From a completion to a verdict: `answer`, `notation`, `unit`, `form`, `expression`, `value`, `identity`, `equality`.
The last runs in processes of its own (`pool`, `worker`), with math-verify (`fallback`) for a gold that it cannot read.
"""
