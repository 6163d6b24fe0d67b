-- The app's sessions at this moment, and the server's clock. One row a session; autocommit, or it is one frozen snapshot.
SELECT extract(epoch FROM clock_timestamp())::float8 AS now,
       pid,
       extract(epoch FROM backend_start)::float8 AS started,
       application_name,
       client_port,
       state,
       extract(epoch FROM state_change)::float8 AS state_since,
       extract(epoch FROM xact_start)::float8 AS xact_since,
       wait_event_type || ':' || wait_event AS wait_event,
       left(query, 200) AS query,
       usename
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND pid <> pg_backend_pid()
   AND backend_type = 'client backend'
