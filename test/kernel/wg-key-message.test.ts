import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'skt-key-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

/**
 * What a process gave to sendto(2), by strace, which answers in the kernel's place that `length` octets were sent: nothing is
 * sent, and the family that has the number 30 on this machine is not asked for anything.
 */
function sent(length: number): Buffer {
  const file = join(folder, 'calls')
  const child = join(import.meta.dirname, 'fixtures/set-new-key.ts')
  const inject = ['-e', 'trace=sendto', '-e', `inject=sendto:retval=${length}`, '-e', 'write=all']
  const said = execFileSync('strace', ['-f', '-qq', ...inject, '-o', file, process.execPath, child], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  expect(said).toContain('no acknowledgement')
  const lines = [...readFileSync(file, 'utf8').matchAll(/^\s*\| [0-9a-f]{5}  ((?:[0-9a-f]{2} {1,2})+)/gm)]
  return Buffer.from(lines.map(([, octets]) => octets?.replaceAll(' ', '')).join(''), 'hex')
}

// The golden message of the reference, which sets port and mark besides; those are sent without a key, by JavaScript.
const GOLDEN =
  '580000001e0005000200000000000000' +
  '010100000e0002006b6d6573682d776730000000' +
  '24000300' +
  '22'.repeat(32) +
  '060006009fca000008000700001e0000'
const AFTER_KEY = 2 * 8
const KEY_BYTES = 32

test('a new key leaves C in the message that WireGuard wants, and is another one each time', () => {
  const whole = Buffer.from(GOLDEN, 'hex')
  const expected = whole.subarray(0, whole.length - AFTER_KEY)
  expected.writeUInt32LE(expected.length, 0)
  const keys = [1, 2].map(() => {
    const message = sent(expected.length)
    const key = Buffer.from(message.subarray(-KEY_BYTES))
    message.fill(0x22, message.length - KEY_BYTES)
    expect(message.toString('hex')).toBe(expected.toString('hex'))
    return key
  })
  for (const key of keys) {
    // Clamped (RFC 7748, section 5), and not what the memory had before.
    expect([(key[0] ?? 0) & 7, (key[31] ?? 0) & 0xc0]).toEqual([0, 0x40])
    expect(new Set(key).size).toBeGreaterThan(8)
  }
  expect(keys[0]?.equals(keys[1] ?? Buffer.alloc(0))).toBe(false)
})
