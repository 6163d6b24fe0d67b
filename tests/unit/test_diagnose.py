"""A recording is matched with the known leak that it resembles."""

from __future__ import annotations

from connleak.corpus import diagnose
from connleak.corpus.fingerprint import fingerprint_of, shape, similarity
from connleak.corpus.gallery import place, read
from connleak.judging import judge
from support.builders import SITE, backend, holder, pool, recording
from support.cli import connleak
from support.gallery import ENTRIES
from support.paths import GALLERY


def test_every_kept_recording_is_like_its_own_target() -> None:
    """One variant of each target that is not clean: its recording leads to its name."""
    seen = set()
    for entry in ENTRIES:
        if entry.outcome != "clean" and entry.target not in seen:
            seen.add(entry.target)
            made, verdict = read(place(GALLERY, entry.target, entry.variant))
            found = diagnose.diagnose(made, verdict, ENTRIES)
            assert entry.target in [one.target for one in found], entry
            assert found[0].score == 1.0
    assert len(seen) > 55


def test_an_own_app_gets_the_traits_that_agree_and_differ() -> None:
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    made = recording(
        [rows[:4], rows[:8], rows],
        holders=[[holder(n, site=SITE) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
    )
    verdict = judge(made)
    best = diagnose.diagnose(made, verdict, ENTRIES)[0]
    assert "kinds: held" in best.agrees and "state: idle in transaction" in best.agrees
    assert 0.5 < best.score < 1.0 and best.differs
    assert diagnose.remedy(best)


def test_a_clean_recording_has_nothing_to_diagnose() -> None:
    made = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert diagnose.diagnose(made, judge(made), ENTRIES) == []


def test_similarity_is_one_with_itself_and_less_for_each_trait_that_differs() -> None:
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 5)]
    made = recording([rows] * 3, holders=[[holder(n) for n in range(1, 5)]] * 3)
    mine = fingerprint_of(made, judge(made))
    assert similarity(mine, mine)[0] == 1.0
    other = type(mine)(outcome="leak", kinds=("growth",), traits={**mine.traits, "state": "idle"})
    score, agrees, differs = similarity(mine, other)
    assert score < 0.8 and "state: idle in transaction, there idle" in differs and "kinds: growth only there" in differs
    assert "database: postgresql" in agrees


def test_the_shape_of_the_levels_has_a_word() -> None:
    assert [shape(levels) for levels in ([4, 8, 12], [16, 16, 16], [62, 96, 76], [3])] == [
        "rises with each cycle",
        "stays level",
        "rises and falls",
        "",
    ]


def test_what_is_no_recording_is_refused(tmp_path) -> None:
    done = connleak("diagnose", str(tmp_path))
    assert done.returncode == 2 and "is not a recording" in done.stderr
