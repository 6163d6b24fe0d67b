CREATE TABLE jobs (id serial PRIMARY KEY, payload text);
INSERT INTO jobs (payload) SELECT CASE WHEN n % 4 > 0 THEN 'job ' || n END FROM generate_series(1, 100) AS n;
