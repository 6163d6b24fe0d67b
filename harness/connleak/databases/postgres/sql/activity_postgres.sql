-- The app's sessions that changed after `since` or are at work now (all of them when it is null), and the pids of all.
-- At least one row: the first bears the server's clock and the pids; pid is null in it where nothing changed.
-- From the function under pg_stat_activity: the view's two joins cost the server as much again (500 sessions: 4.2 ms, 2.0).
-- The query comes as bytes: it is in the encoding of its session's database, and left() fails where that is another.
-- A session's row changes only with its state, so an idle one need not be read again; what waits, however, is at work.
WITH sessions AS MATERIALIZED (
  SELECT pid, backend_start, application_name, client_port, state, state_change, xact_start,
         wait_event_type || ':' || wait_event AS wait_event, query, usesysid
    FROM pg_stat_get_activity(NULL)
   WHERE (%(everywhere)s OR datid = (SELECT oid FROM pg_database WHERE datname = current_database()))
     AND pid <> pg_backend_pid()
     AND backend_type = 'client backend'
), changed AS (
  SELECT * FROM sessions
   WHERE %(since)s::float8 IS NULL
      OR state IS NULL
      OR state NOT LIKE 'idle%%'
      OR greatest(backend_start, state_change, xact_start) > to_timestamp(%(since)s::float8)
)
SELECT extract(epoch FROM statement_timestamp())::float8 AS began,
       extract(epoch FROM clock_timestamp())::float8 AS now,
       CASE WHEN row_number() OVER () = 1 THEN everyone.pids END AS pids,
       changed.pid,
       extract(epoch FROM backend_start)::float8 AS started,
       application_name,
       client_port,
       state,
       extract(epoch FROM state_change)::float8 AS state_since,
       extract(epoch FROM xact_start)::float8 AS xact_since,
       wait_event,
       substr(textsend(query), 1, 800) AS query,
       CASE WHEN usesysid IS NOT NULL THEN pg_get_userbyid(usesysid) END AS usename
  FROM (SELECT coalesce(array_agg(pid), '{}') AS pids FROM sessions) AS everyone
  LEFT JOIN changed ON true
