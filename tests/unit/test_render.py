"""What is drawn and printed, from hand-made recordings."""

from __future__ import annotations

import json
import re

import msgspec
from build import SITE, backend, holder, pool, recording
from connleak import judge
from connleak.model import Database, Sample, Site
from connleak.render import chart, page, series, text


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


def test_the_line_of_code_is_shown_when_its_file_is_there(tmp_path) -> None:
    (tmp_path / "app.py").write_text("\n" * 30 + "    users = Session.scalars(query)\n")
    made = leaking()
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, cwd=str(tmp_path)))
    assert "    users = Session.scalars(query)" in text.answer(made.plan, judge.judge(made)).plain


def words_of(svg: str) -> str:
    return " ".join(re.findall(r">([^<>]+)<", svg))


def test_the_chart_names_its_axes_its_limits_and_the_answer() -> None:
    made = leaking()
    svg = chart.to_svg(chart.growth_chart(made, judge.judge(made)))
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
    assert chart.to_png(svg).startswith(b"\x89PNG")


def test_a_recording_without_anything_is_drawn_too() -> None:
    made = msgspec.structs.replace(recording([[]]), samples=(), requests=(), phases=())
    assert chart.to_svg(chart.growth_chart(made, judge.judge(made))).startswith("<svg")


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
    words = words_of(chart.to_svg(chart.growth_chart(made, judge.judge(made))))
    assert "clients of the pooler" in words and "PostgreSQL behind the pooler: 2" in words
    file = recording([[backend(1, state="open")]] * 3, pools=[[pool(idle=(1,))]] * 3, database=Database(kind="sqlite"))
    assert "open handles of the file" in words_of(chart.to_svg(chart.growth_chart(file, judge.judge(file))))


def test_the_page_works_without_a_network_and_escapes_what_came_from_outside() -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    made = leaking(site=Site(f"{hostile}.py", 31, hostile), query=hostile)
    verdict = judge.judge(made)
    html = page.report(made, verdict, chart.growth_chart(made, verdict, interactive=True), "/* library */")
    assert "<script>alert" not in html and "<img" not in html
    assert html.count("</script>") == 2
    assert "&lt;script&gt;alert(1)" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert "connleak run shop:buggy" in html
    spec = re.search(r"const spec = (\{.*\});", html)
    assert spec and json.loads(spec[1])["vconcat"]


def test_the_page_says_how_every_check_ended() -> None:
    made = leaking()
    verdict = judge.judge(made)
    html = page.report(made, verdict, {}, "")
    for check in verdict.checks:
        assert f"<td>{check.name}</td><td>{check.outcome}</td>" in html
