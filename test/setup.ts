// The preload of every test run; the store's part of it lives in test/database.ts.
