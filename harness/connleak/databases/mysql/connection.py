"""The MySQL driver, which only a run on MySQL or MariaDB needs, and the SQL file of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from connleak.databases.server import Server
from connleak.model.errors import Error


def pymysql() -> Any:
    """Return the driver; raise Error with the package to install."""
    try:
        import pymysql as driver
    except ImportError:
        raise Error("reading MariaDB needs PyMySQL", "pip install 'connleak[lab]'", exit_code=4) from None
    return driver


def run_sql(server: Server, path: Path) -> None:
    """Run an SQL file as the app's user; raise Error with the server's message."""
    driver = pymysql()
    try:
        connection = driver.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=server.dbname,
            autocommit=True,
            client_flag=driver.constants.CLIENT.MULTI_STATEMENTS,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(path.read_text(encoding="utf-8"))
            while cursor.nextset():
                pass
    except driver.MySQLError as error:
        raise Error(f"{path} failed: {error}", f"$EDITOR {path}") from None
