import { Type as t } from '@sinclair/typebox'
import { flag, privateRanges, section, texts, whole } from '#src/config/options.ts'

const mebibyte = 1024 * 1024

export const media = section(
  'Files that users send, and those of other servers that they look at.',
  {
    directory: t.Optional(
      t.String({
        description: 'Where they are kept, if not in data_dir/media.',
        examples: ['/srv/laneway-media'],
        minLength: 1,
      }),
    ),
    max_upload_bytes: whole(50 * mebibyte, 1, 2 ** 40, 'The largest file that a user may upload.'),
    max_remote_bytes: whole(
      100 * mebibyte,
      1,
      2 ** 40,
      'The largest file that is fetched from another server.',
    ),
    max_image_pixels: whole(
      50_000_000,
      1,
      1_000_000_000,
      'Images of more pixels get no thumbnails: it is their decoding that would cost.',
    ),
    max_pending_uploads: whole(
      20,
      1,
      10_000,
      'How many media IDs a user may have created that nothing was uploaded to yet.',
    ),
    pending_hours: whole(24, 1, 720, 'How long such an ID is good.'),
    remote_keep_days: whole(
      90,
      0,
      36_500,
      'How long files of other servers are kept after the last time that somebody looked. 0: for ever.',
    ),
    remote_keep_bytes: whole(
      0,
      0,
      2 ** 50,
      'How much of other servers is kept; what was looked at longest ago goes first. 0: without a limit.',
    ),
    open_before: t.String({
      description:
        'A date. Files that were stored here before it can be had without logging in, at the deprecated addresses.',
      default: '2024-10-07',
      pattern: '^\\d{4}-\\d{2}-\\d{2}(T\\d{2}:\\d{2}:\\d{2}Z)?$',
    }),
  },
)

export const urlPreviews = section('Previews of web pages that users link to.', {
  enabled: flag(
    false,
    'Whether this server fetches pages for its users: whatever address they name.',
  ),
  blocked_ip_ranges: texts('No page is fetched from these addresses, whatever its name leads to.', {
    default: privateRanges,
  }),
  allowed_ip_ranges: texts('Exceptions to blocked_ip_ranges.', { examples: [['10.1.0.0/16']] }),
})
