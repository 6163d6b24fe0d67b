"""Evidence that the probe is right: shared sessions, planted leaks, tables at first timeouts, no side effects."""

from __future__ import annotations

import os
import signal

import pytest
from support.lab import Lab, backends
from support.plans import server_plan
from support.poll import wait_until


def test_a_forked_childs_use_of_its_parents_session_is_reported(lab: Lab) -> None:
    process = lab.start("""
        from sqlalchemy import create_engine, text
        engine = create_engine(URL, pool_size=1)
        with engine.connect() as connection: connection.execute(text("SELECT 1"))
        time.sleep(0.3)
        if os.fork() == 0:
            inherited = engine.connect()  # child
            time.sleep(100)
    """)
    (event,) = lab.events("shared", 1)
    assert event.site.line == lab.line("child")
    assert (event.other, event.process != process.pid) == (process.pid, True)
    assert event.action and "opened in process" in event.detail
    os.kill(event.process, signal.SIGKILL)


def test_a_childs_closing_of_its_parents_session_is_reported_and_close_false_is_not(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine, text
        engine = create_engine(URL, pool_size=1)
        with engine.connect() as connection: connection.execute(text("SELECT 1"))
        time.sleep(0.3)
        for close in (False, True):
            if os.fork() == 0:
                engine.dispose(close=close)  # disposes
                time.sleep(100)
    """)
    (event,) = lab.events("shared", 1)
    assert event.action == "closed" and event.site.line == lab.line("disposes")
    for process in {p.process for p in lab.snapshot().processes if p.process != event.other}:
        os.kill(process, signal.SIGKILL)


STATIC = """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import StaticPool
    engine = create_engine(URL, poolclass=StaticPool)
    first = engine.connect()
    {give_back}
    def other():
        engine.connect()  # second
    thread = threading.Thread(target=other); thread.start(); thread.join()
    time.sleep(0.3)
"""


def test_a_connection_that_a_static_pool_hands_to_two_threads_is_shared_unless_the_first_returned_it(lab: Lab) -> None:
    lab.start(STATIC.format(give_back="first.close()"))
    assert lab.events("shared", 0) == []
    lab.start(STATIC.format(give_back="pass"))
    (event,) = lab.events("shared", 1)
    assert event.detail == "taken by a thread while another had it" and event.site.line == lab.line("second")


SESSION = """
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session
    engine = create_engine(URL)
    session = Session(engine)
    def slow():
        session.execute(text("SELECT pg_sleep(0.5)"))  # first
    def query():
        session.execute(text("SELECT 1"))  # second
    {how}
    time.sleep(0.3)
"""
AT_ONCE = """
    one = threading.Thread(target=slow); one.start(); time.sleep(0.2)
    connection = session.connection()
    try: connection.exec_driver_sql("SELECT 1")  # overlaps
    except Exception: pass
    one.join()
"""
IN_TURNS = """
    query()
    other = threading.Thread(target=query); other.start(); other.join()
    query()
"""
HANDED_OVER = """
    query()
    other = threading.Thread(target=query); other.start(); other.join()
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [(AT_ONCE, "while another"), (IN_TURNS, "in turns"), (HANDED_OVER, "")],
    ids=["once", "turns", "over"],
)
def test_two_threads_on_one_session_are_reported_with_queries_and_a_handed_over_session_is_not(
    lab: Lab, how: str, words: str
) -> None:
    lab.start(SESSION.format(how=how.strip()), env={"CONNLEAK_PROBE": "queries"})
    if words:
        event = lab.events("shared", 1)
        assert words in event[0].detail
        assert event[0].other == 0
    else:
        lab.events("checkout", 1)
        assert lab.events("shared", 0) == []


def test_without_queries_nothing_listens_to_statements(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        with engine.connect() as connection: pass
        assert not list(engine.dispatch.before_cursor_execute)
        assert not list(engine.dispatch.after_cursor_execute)
    """)


def test_the_holder_table_of_the_first_pool_timeout_is_kept(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import TimeoutError
        engine = create_engine(URL, pool_size=1, max_overflow=0, pool_timeout=0.2)
        def holder():
            kept = engine.connect()  # holder
            time.sleep(0.4)  # there now
            kept.close()
        thread = threading.Thread(target=holder, name="holder"); thread.start()
        time.sleep(0.1)
        try: engine.connect()
        except TimeoutError: pass
        thread.join()
        time.sleep(0.3)
    """)
    wait_until(lambda: lab.collector.first_exhaustion, "the table is frozen")
    assert lab.collector.first_exhaustion.reason == "QueuePool limit of size 1 overflow 0 reached"
    assert lab.snapshot().holders == ()  # returned long before
    (held,) = lab.collector.exhaustion_snapshot(1).holders
    assert (held.site.line, held.thread_name, held.now.line) == (lab.line("holder"), "holder", lab.line("there now"))


@pytest.mark.parametrize("driver", ["sqlalchemy", "psycopg2"])
def test_the_holder_table_of_the_first_refused_connection_is_kept(lab: Lab, driver: str) -> None:
    connect = {"sqlalchemy": "engine.connect()", "psycopg2": 'psycopg2.connect(URL.replace("+psycopg2", ""))'}[driver]
    lab.start(f"""
        import psycopg2
        from sqlalchemy import create_engine
        engine = create_engine(URL, pool_size=100)
        kept = []
        try:
            while True:
                kept.append({connect})
        except Exception as error:
            print(error, file=sys.stderr)
    """)
    wait_until(lambda: lab.collector.first_exhaustion, "the table is frozen")
    assert lab.collector.first_exhaustion.reason.startswith("the server: ")
    snapshot = lab.collector.exhaustion_snapshot(1)
    assert len(snapshot.holders) == lab.server.max_connections - lab.server.reserved
    lab.events("refused", 1)


@pytest.mark.parametrize("way", ["pool", "direct"])
def test_a_canary_is_planted_beside_the_apps_own_connections(lab: Lab, way: str) -> None:
    script = {
        "pool": "engine = create_engine(URL, pool_size=1, max_overflow=0)\nkept = engine.connect()",
        "direct": 'import psycopg2; kept = psycopg2.connect(URL.replace("+psycopg2", ""))',
    }[way]
    lab.start("from sqlalchemy import create_engine\n" + script, env={"CONNLEAK_CANARY": "1"})
    assert len(lab.holders(1)) == 1
    assert lab.collector.plant() == "connection"
    holders = lab.holders(2)
    (planted,) = [held for held in holders if held.site.file.endswith("agent/canary.py")]
    assert {held.backend for held in holders} == backends(lab.server)
    assert planted.thread_alive


def test_without_a_canary_no_address_is_kept(lab: Lab) -> None:
    lab.start("""
        import psycopg2
        kept = psycopg2.connect(URL.replace("+psycopg2", ""))
        assert sys.modules["_connleak_probe.driver_connects"].latest_connect is None
    """)


def test_the_collector_off_or_eager(lab: Lab) -> None:
    script = """
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        assert gc.isenabled() == {enabled}
        class Holder: pass
        def leak():
            holder = Holder()
            holder.me, holder.connection = holder, engine.connect()
        leak()
    """
    lab.start(script.format(enabled=False), env={"CONNLEAK_GC": "off"})
    assert len(lab.holders(1)) == 1
    assert lab.collector.environment(server_plan(gc="off"))["CONNLEAK_GC"] == "off"
    lab.collector.collect()
    lab.holders(0)
    lab.start(script.format(enabled=True), env={"CONNLEAK_GC": "eager"})
    lab.events("checkout", 2)
    lab.holders(0)  # a snapshot runs the collector before it counts
    assert all(event.gc for event in lab.events("checkin", 2))


def test_sqlites_connections_are_out_until_they_are_closed_or_forgotten(lab: Lab) -> None:
    lab.start("""
        import sqlite3
        from sqlalchemy import create_engine, text
        def one():
            return sqlite3.connect(":memory:")  # here
        kept, closed, forgotten = one(), one(), one()
        assert isinstance(kept, sqlite3.Connection) and type(kept).__name__ == "Connection"
        with kept: kept.execute("SELECT 1")
        closed.close()
        del forgotten
        with create_engine("sqlite:///app.db").connect() as connection: connection.execute(text("SELECT 1"))
        own = sqlite3.connect(":memory:", factory=type("Mine", (sqlite3.Connection,), {}))  # own
    """)
    holders = lab.holders(2)
    assert {(held.site.line, held.source) for held in holders} == {
        (lab.line("here"), "sqlite"),
        (lab.line("own"), "sqlite"),
    }
    assert len(lab.events("close", 2)) >= 2


def test_a_nested_waiter_is_identified_by_its_task_not_by_its_thread(lab: Lab) -> None:
    lab.start("""
        from gevent import monkey; monkey.patch_all()
        import warnings; warnings.simplefilter("ignore")
        import gevent
        from sqlalchemy import create_engine
        engine = create_engine(URL, pool_size=1, max_overflow=0, pool_timeout=0.3)
        def holds():
            kept = engine.connect()
            gevent.sleep(1)
            kept.close()
        def waits():
            try: engine.connect()
            except Exception: pass
        one = gevent.spawn(holds); gevent.sleep(0.1)
        gevent.joinall([one, gevent.spawn(waits)])
    """)
    (gave_up,) = lab.events("timeout", 1)
    assert not gave_up.nested
