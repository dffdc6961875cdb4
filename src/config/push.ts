import { flag, privateRanges, seconds, section, texts } from '#src/config/options.ts'

export const push = section('Telling push gateways, and by e-mail, what users have not read.', {
  insecure_gateways: flag(
    false,
    'Whether users may name gateways that are reached without TLS. Only for gateways in a network of your own.',
  ),
  blocked_ip_ranges: texts('No gateway at these addresses is asked, whatever its name leads to.', {
    default: privateRanges,
  }),
  allowed_ip_ranges: texts('Exceptions to blocked_ip_ranges.', { examples: [['10.1.0.0/16']] }),
  email_delay_seconds: seconds(
    600,
    0,
    604_800,
    'How long something has to be unread before an e-mail tells of it. What came by then is in the same e-mail.',
  ),
})
