"""What is drawn and printed, from hand-made recordings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import msgspec
import pytest
from connleak import locust_web
from connleak.judging import judge
from connleak.model.comparison import Answer
from connleak.model.outcomes import OUTCOMES
from connleak.model.plan import Database
from connleak.model.recording import Event, Sample, Site
from connleak.model.verdict import Check, HolderRow, worker_of
from connleak.render import charts, comparison, holder_table, intervals, issue, junit, page, series, text, watch_screen
from connleak.render.charts import style
from connleak.render.excerpts import Excerpt
from connleak.runner.source_lines import excerpts_of
from support.builders import SITE, backend, holder, pool, recording


def leaking(site: Site = SITE, query: str = "SELECT 1"):
    row = [
        msgspec.structs.replace(backend(n, xact=0.9, state="idle in transaction"), query=query) for n in range(1, 13)
    ]
    return recording(
        [row[:4], row[:8], row],
        holders=[[holder(n, site=site) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
        argv=("run", "shop:buggy"),
    )


def test_the_terminal_says_the_verdict_first_then_the_sentence_then_the_line() -> None:
    made = leaking()
    lines = text.answer(made.plan, judge(made), where="report: here").plain.splitlines()
    assert lines[0] == " LEAK  shop:buggy"
    assert lines[2].startswith("held: 12 connections were not returned")
    assert "    app.py:31 in list_users" in lines
    assert lines[-1] == "report: here"
    assert max(map(len, lines)) <= 110


def test_the_terminal_says_whether_the_expectation_was_met() -> None:
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, expect="clean"))
    assert "expected clean: NO" in text.answer(made.plan, judge(made)).plain


def test_the_line_of_code_is_shown_as_it_was_kept_and_not_as_its_file_is_now(tmp_path) -> None:
    (tmp_path / "app.py").write_text("\n" * 30 + "    users = Session.scalars(query)\n")
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, cwd=str(tmp_path)))
    verdict = judge(made)
    kept = excerpts_of(made.plan, verdict)
    (tmp_path / "app.py").write_text("\n" * 30 + "    another line now\n")
    assert "    users = Session.scalars(query)" in text.answer(made.plan, verdict, kept).plain
    assert "another line" not in text.answer(made.plan, verdict).plain


def words_of(svg: str) -> str:
    return " ".join(re.findall(r">([^<>]+)<", svg))


def test_the_chart_names_its_axes_its_limits_and_the_answer() -> None:
    made = leaking()
    svg = charts.to_svg(charts.growth_chart(made, judge(made)))
    words = words_of(svg)
    for expected in (
        "shop:buggy: LEAK",
        "sessions on the server",
        "seconds since the start of the run",
        "requests",
        "idle in transaction",
        "load 3",
        "+40.0 per 1000 requests, app.py:31",
    ):
        assert expected in words, expected
    assert charts.to_png(svg).startswith(b"\x89PNG")


def test_a_recording_without_anything_is_drawn_too() -> None:
    made = msgspec.structs.replace(recording([[]]), samples=(), requests=(), phases=())
    assert charts.to_svg(charts.growth_chart(made, judge(made))).startswith("<svg")


def test_thinning_keeps_the_first_the_last_and_every_peak() -> None:
    samples = [Sample(float(t), (backend(1),) * (50 if t == 7777 else 3)) for t in range(10000)]
    kept = series.thin(samples, 600)
    assert len(kept) <= 620
    assert kept[0] is samples[0] and kept[-1] is samples[-1]
    assert max(len(sample.backends) for sample in kept) == 50
    assert [s.t for s in kept] == sorted(s.t for s in kept)


def test_a_plateau_is_drawn_by_its_ends_and_every_step_stays() -> None:
    rows = [{"t": float(t), "idle": float(level)} for t, level in enumerate((1, 1, 1, 1, 2, 1, 1, 1, 3))]
    assert [row["t"] for row in series.corners(rows)] == [0, 3, 4, 5, 7, 8]
    assert series.corners(rows[:1]) == rows[:1] and series.corners([]) == []


def test_a_pooler_and_a_file_have_their_own_words_and_the_server_behind_its_line() -> None:
    made = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3, database=Database(kind="pgbouncer"))
    samples = tuple(msgspec.structs.replace(sample, counters={"server_sessions": 2.0}) for sample in made.samples)
    made = msgspec.structs.replace(made, samples=samples)
    words = words_of(charts.to_svg(charts.growth_chart(made, judge(made))))
    assert "clients of the pooler" in words and "PostgreSQL behind the pooler: 2" in words
    file = recording([[backend(1, state="open")]] * 3, pools=[[pool(idle=(1,))]] * 3, database=Database(kind="sqlite"))
    assert "open handles of the file" in words_of(charts.to_svg(charts.growth_chart(file, judge(file))))


def test_the_page_works_without_a_network_and_escapes_what_came_from_outside() -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    made = leaking(site=Site(f"{hostile}.py", 31, hostile), query=hostile)
    verdict = judge(made)
    live = {"chart": charts.growth_chart(made, verdict, interactive=True)}
    live["lifelines"] = charts.lifelines_chart(made, verdict, interactive=True)
    kept = {f"{hostile}.py:31": Excerpt(30, (hostile, hostile))}
    html = page.report(made, verdict, live, kept, "/* library */")
    assert "<script>alert" not in html and "<img" not in html
    assert html.count("</script>") == 2
    assert "&lt;script&gt;alert(1)" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert "connleak run shop:buggy" in html
    drawn = re.search(r"const charts = (\{.*\});", html)
    assert drawn and json.loads(drawn[1])["chart"]["vconcat"]


def test_no_password_of_an_address_stands_on_a_page() -> None:
    made = leaking(query="SELECT dblink('postgresql://me:se%25cret@host/db') -- password=se%25cret")
    app = "env DATABASE_URL=postgresql://app:se%25cret@127.0.0.1/shop gunicorn shop:app"
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, app=app))
    verdict = judge(made)
    html = page.report(made, verdict, {"chart": charts.growth_chart(made, verdict)}, {}, "/* https://a:b@c */")
    draft = issue.issue(made, verdict, {})
    assert "se%25cret" not in html + draft and "postgresql://app:***@127.0.0.1/shop" in html
    assert "/* https://a:b@c */" in html


def test_the_page_says_how_every_check_ended() -> None:
    made = leaking()
    verdict = judge(made)
    html = page.report(made, verdict, {}, {}, "")
    for check in verdict.checks:
        assert f"<td>{check.name}</td><td>{check.outcome}</td>" in html


def test_a_skipped_check_is_neither_clean_nor_inconclusive_on_the_terminal_and_on_the_page() -> None:
    made = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)
    checks = (
        Check("held", "clean", "no checkout is outstanding"),
        Check("shared", "skipped", "needs a probe"),
        Check("churn", "skipped", "needs a probe"),
        Check("growth", "skipped", "needs two cycles"),
    )
    verdict = msgspec.structs.replace(judge(made), checks=checks)
    lines = text.answer(made.plan, verdict).plain.splitlines()
    assert lines[0].startswith(" CLEAN ")
    assert lines[-2:] == ["skipped, needs a probe: shared, churn", "skipped, needs two cycles: growth"]
    html = page.report(made, verdict, {}, {}, "")
    assert '<td>shared</td><td>skipped</td><td class="why">needs a probe</td>' in html


ROW = HolderRow(
    backend=12,
    state="idle in transaction",
    state_for=3.04,
    held_for=300.0,
    site=SITE,
    process=100,
    worker="Thread-1",
    alive=False,
    now=Site("app.py", 77, "listen"),
    request="GET /users",
    query="SELECT 1",
)
CELLS = ["12", "idle in transaction 3.0 s", "5 min", str(SITE), "GET /users", worker_of(ROW)]
CELLS += ["app.py:77 in listen", "SELECT 1"]


def test_the_terminal_the_page_the_watch_and_locust_show_the_same_columns() -> None:
    verdict = msgspec.structs.replace(judge(leaking()), holders=(ROW,))
    html = page.report(leaking(), verdict, {}, {}, "")
    titles = [column.title for column in holder_table.COLUMNS]
    assert "".join(f"<th>{title}</th>" for title in titles) in html
    assert "".join(f"<td>{cell}</td>" for cell in CELLS) in html
    whole, live = text.holders_of("quiet", 1.0, "", (ROW,)), watch_screen.holders((ROW,))
    assert [str(column.header) for column in whole.columns] == titles
    assert [column._cells[0].plain for column in whole.columns] == CELLS
    shown = [titles.index(str(column.header)) for column in live.columns]
    assert [column._cells[0].plain for column in live.columns] == [CELLS[n] for n in shown]
    assert shown == sorted(shown) and [titles[n] for n in (4, 7)] == ["request", "last statement"]
    sender = SimpleNamespace(last={"holders": [msgspec.to_builtins(ROW)]})
    (row,) = locust_web.rows_of(sender)
    assert row == {
        "session": 12, "state": CELLS[1], "held": 300.0, "name": CELLS[3], "owner": CELLS[5], "now": CELLS[6],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (119.9, "119.9 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
)
def test_a_duration_is_in_the_largest_unit_of_which_there_are_two(seconds: float, words: str) -> None:
    assert holder_table.format_duration(seconds) == words


def test_every_outcome_and_every_answer_has_its_colour_on_the_terminal_and_on_the_pages() -> None:
    style = (Path(page.__file__).parent / "templates" / "style.css").read_text()
    for outcome in (*OUTCOMES, *get_args(Answer)):
        assert re.search(rf"\.{outcome.replace(' ', '-')}[ ,]", style), outcome
    assert set(comparison.COLOURS) == set(get_args(Answer))
    assert set(junit.TAGS) == {*OUTCOMES, "skipped"}


def test_the_code_around_a_line_is_kept_and_shown_with_the_line_marked(tmp_path) -> None:
    (tmp_path / "app.py").write_text("\n".join(f"line {n}" for n in range(1, 60)))
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, cwd=str(tmp_path)))
    verdict = judge(made)
    kept = excerpts_of(made.plan, verdict)
    assert kept["app.py:31"] == Excerpt(26, tuple(f"line {n}" for n in range(26, 37)))
    html = page.report(made, verdict, {}, kept, "")
    assert '<span class="hit">  31  line 31</span>' in html


def test_a_lifeline_is_a_stretch_a_state_with_the_line_that_took_it_and_marks_what_was_left() -> None:
    row = [backend(1, xact=0.9, state="idle in transaction"), backend(2)]
    events = (Event(0.9, "checkout", 100, 1, 1, 1, site=SITE),)
    made = recording([row[1:], row, row], holders=[[], [holder(1)], [holder(1)]], events=events)
    rows, rest = intervals.lifelines(made, {1})
    assert rest == 0
    one = next(found for found in rows if found["session"] == 1)
    assert (one["state"], one["line"], one["left"]) == ("idle in transaction", str(SITE), 1)
    assert one["from"] < one["to"] == rows[0]["to"]
    words = words_of(charts.to_svg(charts.lifelines_chart(made, judge(made))))
    assert "2 sessions, in order of opening" in words and "seconds since the start of the run" in words


def test_every_row_of_a_large_table_is_drawn() -> None:
    made = recording([[backend(n) for n in range(60)]] * 3)
    spec = charts.lifelines_chart(made, judge(made))
    svg = charts.to_svg(spec)
    drawn = {int(number) for number in re.findall(r"in order of opening: (\d+)", svg)}
    assert drawn == set(range(60))
    assert spec == json.loads(json.dumps(style.cleaned(spec))), "no data is cut"


def test_many_sessions_draw_few_bars_and_the_shortest_lived_are_left_out_and_counted() -> None:
    many = [
        tuple(backend(n, state="active" if (n + t) % 2 else "idle") for n in range(t % 7, 700 + t % 7))
        for t in range(200)
    ]
    made = recording([[backend(1)]])
    made = msgspec.structs.replace(made, samples=tuple(Sample(1.0 + t / 50, row) for t, row in enumerate(many)))
    rows, rest = intervals.lifelines(made, set())
    assert len(rows) <= intervals.BARS and rest == 706 - intervals.MOST


def test_ages_climb_for_what_is_never_given_back_and_stay_low_for_the_rest() -> None:
    events = [Event(1.2, "checkout", 100, 1, 1, 1)]
    events += [Event(1.0 + n, "checkout", 100, 1, 2, n + 2) for n in range(8)]
    events += [Event(1.2 + n, "checkin", 100, 1, 2, n + 2) for n in range(8)]
    rows = intervals.ages(recording([[backend(1), backend(2)]] * 3, events=tuple(events)))
    assert {row["age"] for row in rows if row["t"] > 11.5} == {"10 s to 30 s"}
    assert {"under 0.1 s", "0.1 s to 0.3 s"} <= {row["age"] for row in rows}


def test_the_two_sides_stand_on_one_axis() -> None:
    events = (
        Event(1.1, "connect", 100, 1, 1),
        Event(1.2, "checkout", 100, 1, 1, 1),
        Event(5.0, "checkin", 100, 1, 1, 1),
    )
    rows = series.sides(recording([[backend(1), backend(2)]] * 3, events=events))
    last = {row["side"]: row["count"] for row in rows}
    assert last == {"sessions on the server": 2, "open in the app": 1, "checked out in the app": 0}


def test_a_themes_ink_is_legible_on_its_paper_and_print_has_no_colour() -> None:
    made = leaking()
    spec = charts.growth_chart(made, judge(made))
    dark, plain = charts.to_svg(spec, "dark"), charts.to_svg(spec, "print")
    assert "#15191D" in dark and "#FF9D76" in dark and "#B03A00" not in dark
    colours = set(re.findall(r"#[0-9A-Fa-f]{6}", plain))
    greys = {colour for colour in colours if len({colour[1:3], colour[3:5], colour[5:7]}) == 1}
    inks = {"#333A40", "#C4CCD3", "#1D2329"}
    assert {colour.upper() for colour in colours - greys} <= inks


def test_a_long_run_counts_in_hours() -> None:
    made = recording([[backend(1)]] * 3)
    made = msgspec.structs.replace(
        made,
        samples=tuple(Sample(t * 600.0, (backend(1),)) for t in range(181)),
        phases=(),
    )
    words = words_of(charts.to_svg(charts.sides_chart(made, judge(made))))
    assert "0 5 10 15 20 25 30 hours since the start of the run" in words


def test_one_line_an_arm_and_a_small_chart_each_bear_the_verdicts() -> None:
    made = leaking()
    clean = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)
    runs = {"buggy": [(made, judge(made))] * 2, "fixed": [(clean, judge(clean))] * 2}
    over = words_of(charts.to_svg(charts.overlay_chart(runs, "two arms", ["what was found"])))
    assert "buggy: leak" in over and "fixed: clean" in over and "what was found" in over
    small = words_of(charts.to_svg(charts.multiples_chart(runs, "two arms")))
    assert "buggy: LEAK" in small and "fixed: CLEAN" in small and "app.py:31" in small
