-- +goose Up
CREATE TABLE goose_books (id serial PRIMARY KEY, title text NOT NULL);

-- +goose Down
DROP TABLE goose_books;
