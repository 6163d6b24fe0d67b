"""The probe in real processes on a real server: it finds the app's line, and does not harm the app."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from connleak.probe import ENTRY
from support.lab import Lab, backends
from support.poll import wait_until


def test_a_checkout_is_joined_to_its_line_its_thread_and_its_session(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session
        engine = create_engine(URL)
        kept = []
        def view():
            session = Session(engine)
            kept.append(session)
            session.execute(text("SELECT 1"))  # here
        worker = threading.Thread(target=view, name="worker-7")
        worker.start(); worker.join()
    """)
    (holder,) = lab.holders(1)
    assert (holder.site.file, holder.site.line, holder.site.function) == ("app.py", lab.line("here"), "view")
    assert {holder.backend} == backends(lab.server)
    assert holder.thread_name == "worker-7"
    assert not holder.thread_alive
    (pool,) = lab.snapshot().pools
    assert (pool.kind, pool.size, pool.max_overflow, pool.checked_out) == ("QueuePool", 5, 10, 1)


def test_a_living_thread_is_distinguished_from_a_dead_one_with_the_same_id(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        kept = []
        dead = threading.Thread(target=lambda: kept.append(engine.connect()))
        dead.start(); dead.join()
        living = threading.Thread(target=lambda: (kept.append(engine.connect()), time.sleep(100)), daemon=True)
        living.start()
        while len(kept) < 2: time.sleep(0.01)
    """)
    assert sorted(holder.thread_alive for holder in lab.holders(2)) == [False, True]


def test_a_returned_connection_is_idle_in_its_pool(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine, text
        engine = create_engine(URL)
        for _ in range(3):
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
    """)
    events = lab.events("checkin", 3)
    assert not any(event.gc for event in events)
    snapshot = lab.snapshot()
    assert snapshot.holders == ()
    assert set(snapshot.pools[0].idle) == backends(lab.server)


def test_a_line_is_found_through_the_orms_depths(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import ForeignKey, create_engine
        from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
        class Base(DeclarativeBase): pass
        class Parent(Base):
            __tablename__ = "parent"
            id: Mapped[int] = mapped_column(primary_key=True)
            children: Mapped[list["Child"]] = relationship()
        class Child(Base):
            __tablename__ = "child"
            id: Mapped[int] = mapped_column(primary_key=True)
            parent_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))
        engine = create_engine(URL)
        Base.metadata.create_all(engine)
        session = Session(engine)
        session.add(Parent(id=1)); session.commit()
        parent = session.get(Parent, 1); session.commit()
        def template():
            return [len(p.children) for p in [parent]]  # here
        template()
    """)
    (holder,) = lab.holders(1)
    assert (holder.site.line, holder.site.function) == (lab.line("here"), "template")


def test_direct_connections_are_out_until_they_are_closed_or_forgotten(lab: Lab) -> None:
    lab.start("""
        import psycopg2
        def listen():
            return psycopg2.connect(URL.replace("+psycopg2", ""))  # here
        kept, closed, forgotten = listen(), listen(), listen()
        closed.close()
        del forgotten
    """)
    (holder,) = lab.holders(1)
    assert holder.source == "direct"
    assert (holder.site.line, holder.site.function) == (lab.line("here"), "listen")
    assert len(lab.events("close", 2)) == 2


def test_a_connection_that_a_pool_gets_from_the_apps_own_function_is_the_pools(lab: Lab) -> None:
    lab.start("""
        import psycopg2
        from sqlalchemy import create_engine
        engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(URL.replace("+psycopg2", "")))
        engine.connect().close()
    """)
    lab.events("checkin", 1)
    assert lab.snapshot().holders == ()
    assert len(lab.snapshot().pools[0].idle) == 1


def test_returns_by_the_garbage_collector_are_distinguished_from_the_apps(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        gc.disable()
        class Holder: pass
        def leak():
            holder = Holder()
            holder.me, holder.connection = holder, engine.connect()  # here
        leak(); leak()
        engine.connect().close()
    """)
    assert len(lab.holders(2)) == 2
    came_back, silent = lab.collector.collect()
    assert (came_back, silent) == (2, 0)
    gone = [event for event in lab.events("checkin", 3) if event.gc]
    assert [event.site.line for event in gone] == [lab.line("here")] * 2
    lab.holders(0)


def test_a_forked_child_reports_separately_and_the_parent_continues(lab: Lab) -> None:
    process = lab.start("""
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        parents = engine.connect()  # parent
        time.sleep(0.3)
        if os.fork() == 0:
            engine.dispose(close=False)
            childs = engine.connect()  # child
            time.sleep(100)
        later = engine.connect()  # parent too
        time.sleep(0.3)
    """)
    holders = lab.holders(3)
    by_line = {holder.site.line: holder for holder in holders}
    assert by_line[lab.line("parent")].process == process.pid
    assert by_line[lab.line("child")].process != process.pid
    assert len({holder.backend for holder in holders}) == 3
    os.kill(by_line[lab.line("child")].process, signal.SIGKILL)


def test_waiting_callers_and_timeouts_are_reported(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import TimeoutError
        engine = create_engine(URL, pool_size=1, max_overflow=0, pool_timeout=0.2)
        kept = engine.connect()
        try:
            engine.connect()  # here
        except TimeoutError:
            pass
        threading.Timer(0.1, kept.close).start()
        def other():
            engine.connect().close()
        thread = threading.Thread(target=other); thread.start(); thread.join()
    """)
    (gave_up,) = lab.events("timeout", 1)
    assert gave_up.nested and gave_up.seconds == pytest.approx(0.2, abs=0.1)
    assert gave_up.site.line == lab.line("here")
    (waited,) = lab.events("wait", 1)
    assert not waited.nested and waited.seconds > 0.02


def test_create_engine_accepts_all_its_arguments_as_without_a_probe(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool, StaticPool
        engines = [
            create_engine(URL, echo_pool=True, pool_recycle=5, pool_use_lifo=True, pool_logging_name="a"),
            create_engine(URL, poolclass=NullPool),
            create_engine(URL, poolclass=StaticPool),
        ]
        [engine.connect().close() for engine in engines]
    """)
    lab.events("checkin", 3)
    sizes = {pool.kind: pool.size for pool in lab.snapshot().pools}
    assert sizes == {"QueuePool": 5, "StaticPool": 1, "NullPool": 0}


def test_the_apps_own_sitecustomize_runs_too(lab: Lab) -> None:
    theirs = lab.folder / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import builtins\nbuiltins.THEIRS = 'was here'\n")
    lab.start(
        """
        assert THEIRS == "was here"
        import sitecustomize
        assert "theirs" in sitecustomize.__file__
        from sqlalchemy import create_engine
        kept = create_engine(URL).connect()
        """,
        env={"PYTHONPATH": os.pathsep.join([str(ENTRY), str(theirs)])},
    )
    assert len(lab.holders(1)) == 1


def test_it_works_where_connleak_is_not_installed(lab: Lab, tmp_path: Path) -> None:
    site_packages = tmp_path / "packages"
    site_packages.mkdir()
    import psycopg2
    import sqlalchemy
    import typing_extensions

    for module in (psycopg2, sqlalchemy):
        folder = Path(module.__file__).parent
        (site_packages / folder.name).symlink_to(folder)
    binary = Path(psycopg2.__file__).parent.parent / "psycopg2_binary.libs"
    (site_packages / binary.name).symlink_to(binary)
    (site_packages / "typing_extensions.py").symlink_to(typing_extensions.__file__)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    lab.start(
        """
        try:
            import connleak
        except ImportError:
            pass
        else:
            raise SystemExit("connleak is here after all")
        from sqlalchemy import create_engine
        kept = create_engine(URL).connect()
        """,
        env={"PYTHONPATH": os.pathsep.join([str(ENTRY), str(site_packages)])},
        python=(str(bare / "bin" / "python"),),
    )
    assert len(lab.holders(1)) == 1


def test_without_its_variables_it_is_not_loaded(lab: Lab) -> None:
    lab.start("assert '_connleak_probe' not in sys.modules", env={"CONNLEAK_SOCKET": ""})
    assert lab.collector.living() == []


def test_without_a_collector_the_app_works(lab: Lab) -> None:
    lab.start(
        """
        from sqlalchemy import create_engine
        with create_engine(URL).connect(): pass
        """,
        env={"CONNLEAK_SOCKET": "/nowhere/probe.sock"},
    )


def test_a_process_without_the_token_is_rejected(lab: Lab) -> None:
    lab.start(
        "from sqlalchemy import create_engine; kept = create_engine(URL).connect()", env={"CONNLEAK_TOKEN": "guessed"}
    )
    assert lab.collector.living() == []


def test_a_full_buffer_drops_and_counts_and_never_blocks(lab: Lab) -> None:
    lab.start("""
        from sqlalchemy import create_engine
        probe = sys.modules["_connleak_probe"]
        probe.state.MAX_EVENTS = 10
        probe.sender.EVERY = 5
        engine = create_engine(URL)
        engine.connect().close()
        for _ in range(200):
            engine.connect().close()
        probe.sender.EVERY = 0.1
    """)
    wait_until(lambda: any(p.dropped > 100 for p in lab.snapshot().processes), "drops are counted", timeout=15)


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"])
def test_gevents_patching_leaves_it_working(lab: Lab, patch: str) -> None:
    lab.start(
        patch
        + textwrap.dedent("""
        import warnings; warnings.simplefilter("ignore")
        from sqlalchemy import create_engine
        engine = create_engine(URL)
        kept = []
        def view():
            kept.append(engine.connect())  # here
        threads = [threading.Thread(target=view) for _ in range(3)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        """),
    )
    holders = lab.holders(3)
    assert {holder.site.line for holder in holders} == {lab.line("here")}


def test_a_checkout_has_its_request(lab: Lab) -> None:
    lab.start("""
        from flask import Flask
        from sqlalchemy import create_engine
        app = Flask("shop")
        engine = create_engine(URL)
        kept = []
        @app.post("/orders/<int:number>")
        def order(number):
            kept.append(engine.connect())
            return "ok"
        app.test_client().post("/orders/7")
        kept.append(engine.connect())
    """)
    assert sorted(holder.request for holder in lab.holders(2)) == ["", "POST /orders/<int:number>"]
    lab.events("checkout", 2)
    assert [event.request for event in lab.events("checkout", 2)] == ["POST /orders/<int:number>", ""]
