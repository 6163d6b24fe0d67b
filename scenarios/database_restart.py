"""Steady traffic, during which the database ends every session of the app, as a restart or a failover does.

Stock use: PGHOST=... PGUSER=... PGPASSWORD=... PGDATABASE=... locust -f database_restart.py --headless -u 8 -H ...
pg_terminate_backend ends them, which a role may call for its own sessions. `409` is counted as a success.
"""

import os

import gevent
import psycopg2
from locust import FastHttpUser, User, constant, task

ENDED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE usename = current_user AND pid <> pg_backend_pid()
"""


class Visitor(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def page(self):
        with self.client.get("/", catch_response=True) as answer:
            if answer.status_code == 409:
                answer.success()


class Operator(User):
    fixed_count = 1
    wait_time = constant(60)

    @task
    def restart(self):
        gevent.sleep(0.7)
        with self.environment.events.request.measure("SQL", "restart") as measured:
            connection = psycopg2.connect(dbname=os.environ.get("PGDATABASE", "app"))  # the others from PG*
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(ENDED)
                measured["response_length"] = cursor.fetchone()[0]
            connection.close()
