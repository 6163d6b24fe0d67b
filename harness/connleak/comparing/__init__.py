"""Recordings and verdicts of several arms -> Comparison, pure: which differences are real, and whether the fix works.

An arm is a variant, a revision or a list of run folders; a round is one run of each. The first arm is the baseline of
the others.
"""

from __future__ import annotations

from connleak.comparing.conclusion import conclude, describe_arm
from connleak.comparing.conditions import differing_conditions
from connleak.comparing.effects import effects_of, is_clear
from connleak.comparing.figures import arm_of, measure
from connleak.model.comparison import Comparison
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict

__all__ = ["compare"]


def compare(arms: dict[str, list[tuple[Recording, Verdict]]]) -> Comparison:
    """Return the comparison of the arms, in their order, with the first."""
    measured = [arm_of(name, [measure(*run) for run in runs]) for name, runs in arms.items()]
    effects = effects_of(measured)
    first = measured[0]
    described = [arm if arm is first else describe_arm(arm, first, effects) for arm in measured]
    outcome, conclusion, code = conclude(described, effects)
    recordings = {name: [recording for recording, _ in runs] for name, runs in arms.items()}
    return Comparison(
        outcome=outcome,
        conclusion=conclusion,
        exit_code=code,
        arms=tuple(described),
        effects=tuple(effects),
        differing_conditions=tuple(differing_conditions(recordings)),
        rounds=min(len(arm.runs) for arm in measured),
        clear=is_clear(measured, effects),
    )
