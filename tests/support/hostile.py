"""Hostile recordings, of both formats: folders such as an attacker may attach to an issue.

Each function of ATTACKS turns a good recording into an attack; hostile_archives.py has the packed ones.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECRET = "Zq9-never-to-be-seen-q9Z"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\u200b\x00\r"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`|[link](javascript:alert(1))"
FILES = ("phases", "samples", "stacks", "events", "snapshots", "requests", "notes")


@dataclass(frozen=True)
class Place:
    """The place of an attack: the recording's folder in `reports`, and the files of a victim beside it."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "reports" / "20260101-000000-hostile"

    @property
    def victim(self) -> Path:
        return self.root / "victim"

    def link(self, name: str, to: str) -> None:
        """Replace a file of the recording by a symbolic link to a file of the victim."""
        self.free(name).symlink_to(self.victim / to)

    def free(self, name: str) -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)
        return path

    def sites(self, file: str, cwd: str | None = None) -> None:
        """Let every site of the recording name a file, and the plan its folder."""
        self.replace('"buggy.py"', json.dumps(file))
        if cwd is not None:
            self.plan(cwd=cwd)

    def replace(self, old: str, new: str) -> None:
        for path in self.folder.iterdir():
            path.write_text(path.read_text().replace(old, new), encoding="utf-8", errors="surrogatepass")

    def plan(self, **changes: object) -> None:
        path = self.folder / "plan.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def add(self, name: str, data: bytes | str) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))


Attack = Callable[[Place], None]
ATTACKS: dict[str, Attack] = {}


def attack(make: Attack) -> Attack:
    ATTACKS[make.__name__] = make
    return make


def each(names: str) -> Callable[[Callable[[Place, str], None]], None]:
    """Register a function as one attack for each of the names."""

    def add(make: Callable[[Place, str], None]) -> None:
        for name in names.split():
            word = re.sub(r"\W+", "_", name)
            ATTACKS[make.__name__.replace("NAME", word)] = lambda place, name=name: make(place, name)

    return add


def make_victim(folder: Path) -> None:
    """Write the files that no command may read or touch; some have the names of a recording's files."""
    folder.mkdir()
    (folder / "secret.py").write_text("".join(f"password = '{SECRET}'  # {n}\n" for n in range(60)))
    (folder / "events.jsonl").write_text(f'{{"t":1,"kind":"refused","process":1,"detail":"{SECRET}"}}\n')
    (folder / "notes.jsonl").write_text(f'{{"t":1,"about":"run","code":"other","text":"{SECRET}"}}\n')
    lines = [SECRET] * 11
    (folder / "excerpts.json").write_text(json.dumps({"buggy.py:27": {"first": 22, "lines": lines}}))
    (folder / "machine.json").write_text(json.dumps({"system": SECRET}))
    (folder / "spark.txt").write_text(SECRET)
    (folder / "file.txt").write_text(SECRET)
    (folder / "report.html").write_text(f"<p>{SECRET}</p>")


# the files of sites


@attack
def site_is_an_absolute_path(place: Place) -> None:
    place.sites(str(place.victim / "secret.py"))


@attack
def site_climbs_out_of_the_folder(place: Place) -> None:
    place.sites("../../victim/secret.py", str(place.folder))


@attack
def site_is_a_symlink(place: Place) -> None:
    place.sites("app.py", str(place.folder))
    place.link("app.py", "secret.py")


@attack
def site_is_a_fifo(place: Place) -> None:
    place.sites("app.py", str(place.folder))
    os.mkfifo(place.folder / "app.py")


@attack
def site_is_an_endless_device(place: Place) -> None:
    place.sites("/dev/zero")


@attack
def plan_names_the_root_as_its_folder(place: Place) -> None:
    place.sites(str(place.victim / "secret.py").lstrip("/"), "/")


@attack
def site_is_the_password_file(place: Place) -> None:
    place.sites("/etc/passwd")


# files that are not regular files


@each("plan.json machine.json excerpts.json events.jsonl notes.jsonl spark.txt report.html")
def NAME_is_a_symlink_to_a_secret(place: Place, name: str) -> None:
    place.link(name, name if name != "plan.json" else "file.txt")


@each(
    """verdict.json growth.svg growth.png report.html spark.txt excerpts.json verdict.json.part plan.json.part
    excerpts.json.part lifelines.svg compare.json compare.html ../index.html"""
)
def NAME_is_a_symlink_to_be_written_through(place: Place, name: str) -> None:
    place.free("excerpts.json")
    place.link(name, "file.txt")


@each("verdict.json growth.svg report.html notes.jsonl")
def NAME_is_a_hard_link(place: Place, name: str) -> None:
    source = place.victim / (name if name == "notes.jsonl" else "file.txt")
    place.free(name).hardlink_to(source)


@each("plan.json samples.jsonl verdict.json")
def NAME_is_a_symlink_loop(place: Place, name: str) -> None:
    place.free(name).symlink_to(name)


@each("plan.json events.jsonl excerpts.json verdict.json spark.txt report.html control.json")
def NAME_is_a_fifo(place: Place, name: str) -> None:
    os.mkfifo(place.free(name))


@each("plan.json events.jsonl excerpts.json control.json")
def NAME_is_an_endless_device(place: Place, name: str) -> None:
    place.free(name).symlink_to("/dev/zero")


@attack
def events_is_a_device_node(place: Place) -> None:
    if os.geteuid() == 0:
        os.mknod(place.free("events.jsonl"), 0o20644, os.makedev(1, 5))


@each("plan.json events.jsonl verdict.json growth.svg report.html spark.txt")
def NAME_is_a_folder(place: Place, name: str) -> None:
    place.free(name).mkdir()


@attack
def the_folder_is_a_symlink(place: Place) -> None:
    place.folder.rename(place.root / "elsewhere")
    place.folder.symlink_to(place.root / "elsewhere")


@attack
def a_symlink_in_reports_leads_to_a_run(place: Place) -> None:
    (place.folder.parent / "20260102-000000-link").symlink_to(place.victim)


@attack
def compare_json_names_other_folders(place: Place) -> None:
    runs = [{"folder": name, "outcome": "clean"} for name in ("..", "/etc", "../../victim", "a\0b", "x" * 300)]
    arms = [{"name": name, "runs": [run], "outcomes": ["clean"], "state": "sound"} for name, run in
            zip("abcde", runs, strict=True)]  # fmt: skip
    found = {"outcome": "fixed", "conclusion": "", "exit_code": 0, "arms": arms}
    (place.folder / "compare.json").write_text(json.dumps(found))


# sizes


def sparse(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


@each("plan.json samples.jsonl excerpts.json spark.txt")
def NAME_is_a_gigabyte_of_nothing(place: Place, name: str) -> None:
    sparse(place.folder / name, 1 << 30)


@attack
def samples_are_three_gigabytes(place: Place) -> None:
    sparse(place.folder / "samples.jsonl", 3 << 30)


@attack
def a_line_is_half_a_gigabyte(place: Place) -> None:
    path = place.folder / "events.jsonl"
    sparse(path, 500 << 20)
    place.add("events.jsonl", '\n{"t":1.0,"kind":"bye","process":11720}\n')


@each("plan.json phases.jsonl notes.jsonl excerpts.json")
def NAME_is_nested_deep(place: Place, name: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    if name.endswith(".json"):
        (place.folder / name).write_text(f'{{"format":1,"facts":{deep}}}')
    else:
        place.add(
            name, f'{{"t":1,"name":"rest","about":"run","code":"other","text":"x","cycle":1,"facts":{{"a":{deep}}}}}\n'
        )


@attack
def numbers_have_a_hundred_thousand_digits(place: Place) -> None:
    nines = "9" * 100_000
    place.add("events.jsonl", f'{{"t":1,"kind":"checkout","process":{nines},"backend":{nines}}}\n')
    place.add("notes.jsonl", f'{{"t":1,"about":"run","code":"other","text":"x","facts":{{"canary":{nines}}}}}\n')
    place.add("samples.jsonl", f'{{"t":{nines},"rows":[[{nines},{nines}]]}}\n')


@attack
def numbers_are_no_numbers(place: Place) -> None:
    for word in ("NaN", "Infinity", "-Infinity", "1e999", "1e308", "-1e308", "5e-324", "9223372036854775807"):
        place.add("events.jsonl", f'{{"t":{word},"kind":"checkout","process":1,"backend":1,"checkout":1}}\n')
        place.add("samples.jsonl", f'{{"t":{word},"full":true,"rows":[[1,{word},"a",1,"idle",{word},{word}]]}}\n')
        place.add("phases.jsonl", f'{{"t":{word},"name":"rest","cycle":1}}\n')
        place.add("requests.jsonl", f'{{"t":{word},"seconds":{word},"name":"x"}}\n')


@attack
def times_are_negative(place: Place) -> None:
    for name in FILES:
        path = place.folder / f"{name}.jsonl"
        path.write_text(re.sub(r'"t":', '"t":-', path.read_text()))


@attack
def times_are_a_billion_years(place: Place) -> None:
    for name in FILES:
        path = place.folder / f"{name}.jsonl"
        path.write_text(re.sub(r'"t":([\d.]+)', lambda found: f'"t":{float(found[1]) * 1e17}', path.read_text()))


@attack
def the_run_lasts_a_year(place: Place) -> None:
    for name in FILES:
        path = place.folder / f"{name}.jsonl"
        path.write_text(re.sub(r'"t":([\d.]+)', lambda found: f'"t":{float(found[1]) * 3e6}', path.read_text()))


@attack
def the_plan_asks_for_endless_things(place: Place) -> None:
    place.plan(kind="watch", cycles=10**9, users=10**9, window=5e-324, sample_every=5e-324, at_rate=1e308, hours=1e308,
               sensitivity=5e-324, max_idle_connections=-(10**9), database={"max_connections": -(10**12), "kind": "x"},
               phases={"load": 1e308, "settle": -1e308})  # fmt: skip


@attack
def a_million_processes(place: Place) -> None:
    for start in range(0, 1_000_000, 100_000):
        processes = ",".join(f'{{"process":{n},"probe":true}}' for n in range(start, start + 100_000))
        place.add("snapshots.jsonl", f'{{"t":12.9,"label":"quiet","cycle":3,"processes":[{processes}]}}\n')


@attack
def a_hundred_thousand_sites_and_holders(place: Place) -> None:
    for start in range(0, 100_000, 20_000):
        holders = ",".join(
            f'{{"process":{n},"checkout":1,"backend":{n},"since":2,"site":{{"file":"f{n}.py","line":1,"function":"f"}}}}'
            for n in range(start, start + 20_000)
        )
        place.add("snapshots.jsonl", f'{{"t":12.9,"label":"quiet","cycle":3,"holders":[{holders}]}}\n')


@attack
def a_hundred_thousand_stacks_and_events(place: Place) -> None:
    place.add("stacks.jsonl", "".join(f'{{"id":{n},"stack":[["a{n}.py",1,"f"]]}}\n' for n in range(10, 100_000)))
    place.add(
        "events.jsonl",
        "".join(
            f'{{"t":3,"kind":"checkout","process":{n},"checkout":{n},"backend":{n},"at":{n}}}\n'
            for n in range(10, 100_000)
        ),
    )


@attack
def samples_of_a_hundred_thousand_sessions_change_one_at_a_time(place: Place) -> None:
    """A few MB that would be tens of GB: each line makes a sample of all sessions."""
    change_one_of_a_hundred_thousand_sessions(place, 10_000)


@attack
def samples_of_a_hundred_thousand_sessions_are_just_as_many_as_are_read(place: Place) -> None:
    change_one_of_a_hundred_thousand_sessions(place, 198)


def change_one_of_a_hundred_thousand_sessions(place: Place, times: int) -> None:
    rows = ",".join(f'[{n},0.0,"a",{n},"idle"]' for n in range(100_000))
    place.add("samples.jsonl", f'{{"t":5,"full":true,"rows":[{rows}]}}\n')
    for n in range(times):
        place.add("samples.jsonl", f'{{"t":5.{n:05},"rows":[[1,0.0,"a",1,"{"active" if n % 2 else "idle"}"]]}}\n')


@attack
def a_stack_has_a_hundred_thousand_frames(place: Place) -> None:
    frames = ",".join(f'["a{n}.py",{n},"f"]' for n in range(100_000))
    place.add("stacks.jsonl", f'{{"id":1,"stack":[{frames}]}}\n')


@attack
def numbers_refer_to_themselves(place: Place) -> None:
    for n in range(500):
        place.add("stacks.jsonl", f'{{"id":1,"stack":[["buggy.py",{n},"f"]]}}\n')
        kind = "checkout" if n % 2 else "shared"
        place.add("events.jsonl", f'{{"t":3,"kind":"{kind}","process":1,"other":1,"checkout":1,"backend":1,"at":1}}\n')
        place.add("phases.jsonl", '{"t":3,"name":"rest","cycle":1}\n{"t":2,"name":"quiet","cycle":1}\n')
        place.add("samples.jsonl", '{"t":3,"full":true,"rows":[[1,1.0],[1,2.0]],"gone":[1,1]}\n')


@attack
def names_are_a_megabyte_long(place: Place) -> None:
    long = "x" * 1_000_000
    place.sites(long + ".py")
    place.plan(target=long, variant=long, app=long, argv=[long], cwd=f"/{long}", scenario=long)
    place.add("requests.jsonl", f'{{"t":3,"seconds":1,"name":"{long}","error":"{long}","ok":false}}\n')
    place.add("notes.jsonl", f'{{"t":1,"about":"app","code":"other","text":"{long}"}}\n')


@attack
def names_are_hundreds_of_addresses(place: Place) -> None:
    long = "a://b:c" * 500
    place.sites(long + ".py")
    place.plan(target=long, app=long)


# text


@attack
def words_speak_to_the_terminal(place: Place) -> None:
    words = json.dumps(ESCAPES)[1:-1]
    place.replace("list_users", words)
    place.replace("buggy.py", f"{words}.py")
    place.replace('"GET"', f'"{words}"')
    place.plan(target=ESCAPES, variant=ESCAPES, app=ESCAPES, argv=[ESCAPES, "run"], scenario=ESCAPES)
    place.add("notes.jsonl", f'{{"t":1,"about":"app","code":"other","text":"{words}"}}\n')
    place.add("requests.jsonl", f'{{"t":3,"seconds":1,"name":"{words}","error":"{words}","ok":false}}\n')


@attack
def words_are_html(place: Place) -> None:
    words = json.dumps(HTML)[1:-1]
    place.replace("list_users", words)
    place.replace("buggy.py", words)
    place.plan(target=HTML, variant="```\n# heading\n</pre>", app=f"`{HTML}`\n# heading", argv=[HTML])
    (place.folder / "spark.txt").write_text(f'"/><script>{HTML}')
    (place.folder / "excerpts.json").write_text(
        json.dumps({f"{HTML}:27": {"first": 27, "lines": ["</pre><script>alert(1)</script>"] * 9999}})
    )


@attack
def words_of_format_two_speak_to_the_terminal(place: Place) -> None:
    place.plan(format=2)
    words_speak_to_the_terminal(place)


@attack
def words_of_format_two_are_html(place: Place) -> None:
    place.plan(format=2)
    words_are_html(place)
    place.add("notes.jsonl", f'{{"t":1,"code":"other","text":{json.dumps(HTML)}}}\n')


@attack
def words_are_a_scheme(place: Place) -> None:
    place.sites("javascript:alert(1)//.py", "/")
    place.plan(target="javascript:alert(1)", variant="javascript:alert(1)")


@attack
def words_stand_where_the_library_comes(place: Place) -> None:
    place.plan(target="/* the library of charts */" * 10_000)


@each("javascript:alert(1) file:x %2e%2e <img/src=x/onerror=alert(1)> {0}{folder}")
def folder_is_named_NAME(place: Place, name: str) -> None:
    place.folder.rename(place.folder.parent / name.replace("/", "\u2215"))


@attack
def folder_is_named_with_escapes(place: Place) -> None:
    place.folder.rename(place.folder.parent / ESCAPES.replace("\0", ""))


@attack
def folder_is_named_with_bytes_that_are_no_text(place: Place) -> None:
    place.folder.rename(place.folder.parent / os.fsdecode(b"2026\xff\xfe"))


@attack
def text_is_no_text(place: Place) -> None:
    place.add("notes.jsonl", b'{"t":1,"about":"run","code":"other","text":"\xff\xfe\xc3("}\n')
    place.add("notes.jsonl", b'{"t":1,"about":"run","code":"other","text":"\\ud800 \\udfff"}\n')
    place.add("events.jsonl", b"\xff" * 10_000)
    (place.folder / "spark.txt").write_bytes(b"\xff\xfe")


@attack
def lines_have_marks_and_returns(place: Place) -> None:
    for name in FILES:
        path = place.folder / f"{name}.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


@attack
def files_are_utf16(place: Place) -> None:
    for name in ("plan.json", "events.jsonl"):
        path = place.folder / name
        path.write_bytes(path.read_text().encode("utf-16"))


@attack
def kept_documents_are_of_other_types(place: Place) -> None:
    verdict = {"outcome": "leak", "sentence": "", "evidence": {"peak": [[HTML]], "at_rest": HTML, "seconds": "x"}}
    (place.folder / "verdict.json").write_text(json.dumps(verdict))
    (place.folder / "excerpts.json").write_text("[]")
    (place.folder / "machine.json").write_text('{"pid": 1, "packages": {"a": "' + "b" * 1000 + '"}}')


FACTS = """max_connections reserved kind version settled cut requests out waiting estimated canary words count ours
own_database others elsewhere gap samples seconds process phrase thread clock_jump failures"""


@attack
def facts_are_of_other_types(place: Place) -> None:
    for value in ("[]", '"x"', "null", "-1", "1e300", '{"a":{}}'):
        facts = ",".join(f'"{name}":{value}' for name in FACTS.split())
        place.add("phases.jsonl", f'{{"t":2,"name":"baseline","cycle":0,"facts":{{{facts}}}}}\n')
        place.add("phases.jsonl", f'{{"t":9,"name":"rest","cycle":3,"facts":{{{facts}}}}}\n')
        place.add("notes.jsonl", f'{{"t":1,"about":"app","code":"other","text":"","facts":{{{facts}}}}}\n')
    path = place.folder / "phases.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")


@attack
def a_running_process_is_named_as_its_recorder(place: Place) -> None:
    path = place.folder / "machine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": os.getpid()}))
