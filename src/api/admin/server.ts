import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'
import packageJson from '../../../package.json' with { type: 'json' }

export const getServerVersion = op({
  id: 'getServerVersion',
  method: 'GET',
  path: '/_synapse/admin/v1/server_version',
  auth: 'admin',
  response: open({ server_version: t.String() }),
  run: () => ({ server_version: `Laneway ${packageJson.version}` }),
})
