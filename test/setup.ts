import { afterAll } from 'bun:test'
import { stopTestDatabases } from '#test/database.ts'

// The preload of every run: this hook runs once, after the last file.
afterAll(stopTestDatabases)
