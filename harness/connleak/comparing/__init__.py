"""Recordings and verdicts of several arms -> Comparison, pure: which differences are real, and does the fix work.

An arm is a variant, a revision or a list of run folders; a round is one run of each. The first arm is what the others
are held against.
"""

from __future__ import annotations

from connleak.comparing.conclusion import conclude, remark
from connleak.comparing.conditions import refusal, unlike
from connleak.comparing.effects import effects_of, is_clear
from connleak.comparing.figures import arm_of, measure
from connleak.model.comparison import Comparison
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict

__all__ = ["compare", "refusal", "unlike"]


def compare(arms: dict[str, list[tuple[Recording, Verdict]]]) -> Comparison:
    """Returns the comparison of the arms, in their order, against the first."""
    made = [arm_of(name, [measure(*run) for run in runs]) for name, runs in arms.items()]
    effects = effects_of(made)
    first = made[0]
    said = [arm if arm is first else remark(arm, first, effects) for arm in made]
    outcome, words, code = conclude(said, effects)
    return Comparison(
        outcome=outcome,
        conclusion=words,
        exit_code=code,
        arms=tuple(said),
        effects=tuple(effects),
        unlike=tuple(unlike({name: [recording for recording, _ in runs] for name, runs in arms.items()})),
        rounds=min(len(arm.runs) for arm in made),
        clear=is_clear(made, effects),
    )
