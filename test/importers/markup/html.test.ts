import { expect, test } from 'bun:test'
import { safeHtml } from '#importers/markup/html.ts'

const links = {
  person: (id: string) => (id.startsWith('u') ? `https://matrix.to/#/%40${id}%3Ahs` : undefined),
  room: () => undefined,
}
const safe = (html: string) => safeHtml(html, links)
/** The same with something behind it that is taken away, so that every element is looked at. */
const thoroughly = (html: string) => safe(`${html}<marquee></marquee>`)

test('what is harmless is what is left of it when every element is looked at', () => {
  for (const html of [
    'text &amp; <strong>more</strong> &lt;b&gt;',
    '<p>one<br>two</p><ul><li><code>x &lt; y</code></li></ul>',
    'see <a href="https://example.org/a?b=1&amp;c=(2)#d">here</a>, <a href="mailto:a@b.org">there</a>',
    'hello <a data-person="u1">@ann</a>, and <a data-person="nobody">@ben</a>!',
    '<em><a data-person="u1">@&lt;ann&gt;</a></em>',
    '<span>x</span>',
  ])
    // A line break is written in one way or the other.
    expect(thoroughly(html).replaceAll('<br />', '<br>')).toBe(safe(html))
})

test('a person is a link to them, or stays a name', () => {
  expect(safe('<a data-person="u1">@ann</a>')).toBe(
    '<a href="https://matrix.to/#/%40u1%3Ahs">@ann</a>',
  )
  expect(safe('<a data-person="x">@ben</a>')).toBe('<span>@ben</span>')
})

test('what is not harmless goes, wherever it hides', () => {
  for (const html of [
    '<script>alert(1)</script>',
    '<a href="javascript:alert(1)">x</a>',
    '<a href="https://a.org" onclick="alert(1)">x</a>',
    '<a href="https://a.org/&quot; onclick=&quot;x">x</a>',
    '<a data-person="u1" onclick="x">@ann</a>',
    '<a data-person="u1"><img src="https://a.org/x.png">@ann</a>',
    '<img src="https://a.org/x.png">',
    '<p style="color:red">x</p>',
    '<p onclick=x>x</p>',
    '<iframe src="https://a.org"></iframe>',
    '<a href="https://a.org/`\\">x</a>',
    '<<p>script>x</script>',
    '<!-- x --><style>p{}</style>',
  ]) {
    const left = safe(html)
    expect(left).not.toMatch(/ onclick=["x]|javascript:|<script|<img|<iframe|style=|<style|<!--/)
    expect(left).toBe(thoroughly(html))
  }
})
