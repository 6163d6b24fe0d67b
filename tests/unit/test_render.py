"""What is drawn and printed, from hand-made recordings."""

from __future__ import annotations

import json
import re

import msgspec
from connleak import judging as judge
from connleak.model.plan import Database
from connleak.model.recording import Event, Sample, Site
from connleak.render import charts, issue, page, series, text
from connleak.render import lifelines as lives
from connleak.render.excerpts import Excerpt, excerpts_of
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
    lines = text.answer(made.plan, judge.judge(made), where="report: here").plain.splitlines()
    assert lines[0] == " LEAK  shop:buggy"
    assert lines[2].startswith("held: 12 connections still held")
    assert "    app.py:31 in list_users" in lines
    assert lines[-1] == "report: here"
    assert max(map(len, lines)) <= 110


def test_the_terminal_says_whether_the_expectation_was_met() -> None:
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, expect="clean"))
    assert "expected clean: NO" in text.answer(made.plan, judge.judge(made)).plain


def test_the_line_of_code_is_shown_as_it_was_kept_and_not_as_its_file_is_now(tmp_path) -> None:
    (tmp_path / "app.py").write_text("\n" * 30 + "    users = Session.scalars(query)\n")
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, cwd=str(tmp_path)))
    verdict = judge.judge(made)
    kept = excerpts_of(made.plan, verdict)
    (tmp_path / "app.py").write_text("\n" * 30 + "    another line now\n")
    assert "    users = Session.scalars(query)" in text.answer(made.plan, verdict, kept).plain
    assert "another line" not in text.answer(made.plan, verdict).plain


def words_of(svg: str) -> str:
    return " ".join(re.findall(r">([^<>]+)<", svg))


def test_the_chart_names_its_axes_its_limits_and_the_answer() -> None:
    made = leaking()
    svg = charts.to_svg(charts.growth_chart(made, judge.judge(made)))
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
    assert charts.to_svg(charts.growth_chart(made, judge.judge(made))).startswith("<svg")


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
    words = words_of(charts.to_svg(charts.growth_chart(made, judge.judge(made))))
    assert "clients of the pooler" in words and "PostgreSQL behind the pooler: 2" in words
    file = recording([[backend(1, state="open")]] * 3, pools=[[pool(idle=(1,))]] * 3, database=Database(kind="sqlite"))
    assert "open handles of the file" in words_of(charts.to_svg(charts.growth_chart(file, judge.judge(file))))


def test_the_page_works_without_a_network_and_escapes_what_came_from_outside() -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    made = leaking(site=Site(f"{hostile}.py", 31, hostile), query=hostile)
    verdict = judge.judge(made)
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
    verdict = judge.judge(made)
    html = page.report(made, verdict, {"chart": charts.growth_chart(made, verdict)}, {}, "/* https://a:b@c */")
    draft = issue.issue(made, verdict, {})
    assert "se%25cret" not in html + draft and "postgresql://app:***@127.0.0.1/shop" in html
    assert "/* https://a:b@c */" in html


def test_the_page_says_how_every_check_ended() -> None:
    made = leaking()
    verdict = judge.judge(made)
    html = page.report(made, verdict, {}, {}, "")
    for check in verdict.checks:
        assert f"<td>{check.name}</td><td>{check.outcome}</td>" in html


def test_the_code_around_a_line_is_kept_and_shown_with_the_line_marked(tmp_path) -> None:
    (tmp_path / "app.py").write_text("\n".join(f"line {n}" for n in range(1, 60)))
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, cwd=str(tmp_path)))
    verdict = judge.judge(made)
    kept = excerpts_of(made.plan, verdict)
    assert kept["app.py:31"] == Excerpt(26, tuple(f"line {n}" for n in range(26, 37)))
    html = page.report(made, verdict, {}, kept, "")
    assert '<span class="hit">  31  line 31</span>' in html


def test_a_lifeline_is_a_stretch_a_state_with_the_line_that_took_it_and_marks_what_was_left() -> None:
    row = [backend(1, xact=0.9, state="idle in transaction"), backend(2)]
    events = (Event(0.9, "checkout", 100, 1, 1, 1, site=SITE),)
    made = recording([row[1:], row, row], holders=[[], [holder(1)], [holder(1)]], events=events)
    rows, rest = lives.lifelines(made, {1})
    assert rest == 0
    one = next(found for found in rows if found["session"] == 1)
    assert (one["state"], one["line"], one["left"]) == ("idle in transaction", str(SITE), 1)
    assert one["from"] < one["to"] == rows[0]["to"]
    words = words_of(charts.to_svg(charts.lifelines_chart(made, judge.judge(made))))
    assert "2 sessions, by opening" in words and "seconds since the start of the run" in words


def test_many_sessions_draw_few_bars_and_the_shortest_lived_are_left_out_and_counted() -> None:
    many = [
        tuple(backend(n, state="active" if (n + t) % 2 else "idle") for n in range(t % 7, 700 + t % 7))
        for t in range(200)
    ]
    made = recording([[backend(1)]])
    made = msgspec.structs.replace(made, samples=tuple(Sample(1.0 + t / 50, row) for t, row in enumerate(many)))
    rows, rest = lives.lifelines(made, set())
    assert len(rows) <= lives.BARS and rest == 706 - lives.MOST


def test_ages_climb_for_what_is_never_given_back_and_stay_low_for_the_rest() -> None:
    events = [Event(1.2, "checkout", 100, 1, 1, 1)]
    events += [Event(1.0 + n, "checkout", 100, 1, 2, n + 2) for n in range(8)]
    events += [Event(1.2 + n, "checkin", 100, 1, 2, n + 2) for n in range(8)]
    rows = lives.ages(recording([[backend(1), backend(2)]] * 3, events=tuple(events)))
    assert {row["age"] for row in rows if row["t"] > 11.5} == {"10 s to 30 s"}
    assert {"under 0.1 s", "0.1 s to 0.3 s"} <= {row["age"] for row in rows}


def test_the_two_sides_stand_on_one_axis() -> None:
    events = (
        Event(1.1, "connect", 100, 1, 1),
        Event(1.2, "checkout", 100, 1, 1, 1),
        Event(5.0, "checkin", 100, 1, 1, 1),
    )
    rows = lives.sides(recording([[backend(1), backend(2)]] * 3, events=events))
    last = {row["side"]: row["count"] for row in rows}
    assert last == {"sessions on the server": 2, "open in the app": 1, "checked out in the app": 0}


def test_a_themes_ink_is_legible_on_its_paper_and_print_has_no_colour() -> None:
    made = leaking()
    spec = charts.growth_chart(made, judge.judge(made))
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
    words = words_of(charts.to_svg(charts.sides_chart(made, judge.judge(made))))
    assert "0 5 10 15 20 25 30 hours since the start of the run" in words


def test_one_line_an_arm_and_a_small_chart_each_bear_the_verdicts() -> None:
    made = leaking()
    clean = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)
    runs = {"buggy": [(made, judge.judge(made))] * 2, "fixed": [(clean, judge.judge(clean))] * 2}
    over = words_of(charts.to_svg(charts.overlay_chart(runs, "two arms", ["what was found"])))
    assert "buggy: leak" in over and "fixed: clean" in over and "what was found" in over
    small = words_of(charts.to_svg(charts.multiples_chart(runs, "two arms")))
    assert "buggy: LEAK" in small and "fixed: CLEAN" in small and "app.py:31" in small
