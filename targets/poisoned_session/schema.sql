CREATE TABLE members (number integer PRIMARY KEY);
INSERT INTO members VALUES (0);
