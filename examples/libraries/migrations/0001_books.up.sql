CREATE TABLE migrated_books (id serial PRIMARY KEY, title text NOT NULL);
