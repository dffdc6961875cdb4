import { expect, test } from 'bun:test'
import { barLine, Track } from '#importers/report/progress.ts'

function trackOf(name: string, done: number, total: number): Track {
  const track = new Track(name, total, 'records')
  track.done = done
  track.note = 'media 212  12 skipped'
  return track
}

test('a bar shows all there is where there is room', () => {
  const line = barLine(trackOf('general', 81_204, 140_002), 120)
  expect(line).toContain('[##############..........] 58 %  81,204/140,002')
  expect(line).toContain('media 212  12 skipped')
  expect(line).toContain('ETA ')
})

test.each([200, 80, 60, 50, 40, 30, 20, 12, 8, 3, 1])(
  'on a terminal of %d columns a bar has one line, with how far it is as long as there is room',
  (columns) => {
    for (const name of [
      'general',
      'ein sehr langer Name eines Raums',
      '会議室の長い名前と絵文字🎉🎉🎉',
    ]) {
      const line = barLine(trackOf(name, 81_204, 140_002), columns)
      expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns)
      expect(line).not.toContain('\n')
      if (columns >= 20) expect(line).toContain('58 %')
    }
  },
)

test('a name that is orders to the terminal is none', () => {
  const line = barLine(trackOf('a\u001b[2Jb\r\nc\u009b1A', 1, 10), 120)
  expect(line).toStartWith('a\ufffd[2Jb\ufffd c\ufffd1A ')
})

test('more than there was to do is no more than all', () => {
  expect(barLine(trackOf('general', 12, 10), 100)).toContain('100 %')
  expect(barLine(trackOf('empty', 0, 0), 100)).toContain('100 %')
})
