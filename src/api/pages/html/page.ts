import { Reply } from '#api/http/reply.ts'

/** Text as it may stand in a page, also in an attribute. */
export const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)

const style =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em;color:#222}' +
  'button,input{font:inherit;padding:.4em 1em}'

export type Page = {
  status?: number
  title: string
  /** HTML. */
  body: string
  /** JavaScript, of ours alone. */
  script?: string
}

/** A page that loads nothing, is framed by nobody, and tells no other site where it was. */
export function page({ status = 200, title, body, script }: Page): Reply {
  const nonce = crypto.randomUUID()
  const text = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(title)}</title><style nonce="${nonce}">${style}</style></head>
<body><h1>${escape(title)}</h1>
${body}
${script === undefined ? '' : `<script nonce="${nonce}">${script}</script>`}
</body></html>
`
  return new Reply(status, text, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  })
}
