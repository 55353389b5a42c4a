DROP TABLE migrated_books;
