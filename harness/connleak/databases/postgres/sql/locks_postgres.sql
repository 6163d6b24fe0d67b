-- Sessions of this database with an advisory lock; without an open transaction it is a session-level lock.
SELECT DISTINCT pid
  FROM pg_locks
 WHERE locktype = 'advisory'
   AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
