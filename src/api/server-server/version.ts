import { op } from '#api/http/op.ts'
import packageJson from '../../../package.json' with { type: 'json' }

export const getVersion = op({
  id: 'getVersion',
  method: 'GET',
  path: '/_matrix/federation/v1/version',
  auth: 'none',

  run: () => ({ server: { name: 'Laneway', version: packageJson.version } }),
})
