-- Sessions of this database with an advisory lock. One that is held with no transaction open is a session lock.
SELECT DISTINCT pid
  FROM pg_locks
 WHERE locktype = 'advisory'
   AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
