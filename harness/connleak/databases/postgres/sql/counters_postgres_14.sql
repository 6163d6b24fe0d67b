-- Sessions that the database has had, all clients: those shorter than a sample's period are counted here.
SELECT sessions, sessions_abandoned, sessions_fatal, sessions_killed, xact_commit, xact_rollback
  FROM pg_stat_database
 WHERE datname = current_database()
