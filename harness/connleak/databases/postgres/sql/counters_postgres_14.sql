-- Counters of all sessions of the database, which include sessions shorter than the interval between two samples.
SELECT sessions, sessions_abandoned, sessions_fatal, sessions_killed, xact_commit, xact_rollback
  FROM pg_stat_database
 WHERE datname = current_database()
