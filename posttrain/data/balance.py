"""How much each label of thumbs weighs."""

from __future__ import annotations


def label_weights(n_desirable: int, n_undesirable: int) -> tuple[float, float]:
    """Return (desirable_weight, undesirable_weight) that give both labels the same total weight.

    Eq. 8 of arXiv 2402.01306 asks for ``w_D n_D / (w_U n_U)`` in [1, 4/3]; this is 1, reached by raising the
    rarer label's weight alone. With only one label there is nothing to balance: (1, 1).
    """
    if not n_desirable or not n_undesirable:
        return 1.0, 1.0
    if n_desirable < n_undesirable:
        return n_undesirable / n_desirable, 1.0
    return 1.0, n_desirable / n_undesirable
