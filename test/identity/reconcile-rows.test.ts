import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { KernelRow } from '../../src/identity/ports.ts'
import { keyOf } from '../../src/identity/reconcile-rows.ts'

const edge = (...values: readonly number[]): fc.Arbitrary<number> => fc.constantFrom(...values)
const row: fc.Arbitrary<KernelRow> = fc.record({
  label: fc.oneof(edge(0, 1, 2, 16_777_217, 0xffff_fffe, 0xffff_ffff), fc.nat(0xffff_ffff)),
  protocol: fc.oneof(edge(0, 1, 6, 17, 58, 132, 2, 255), fc.nat(255)),
  port: fc.oneof(edge(0, 1, 53, 0x8000, 0xffff), fc.nat(0xffff)),
  portBits: fc.nat(16),
  verdict: fc.constant('allow' as const),
})

/** What the kernel compares (src/bpf/layout-policy.ts): without a protocol no port, and of the port its leading bits. */
const compared = ({ label, protocol, port, portBits }: KernelRow): string =>
  protocol === 0 ? `${label}` : `${label} ${protocol} ${portBits} ${portBits === 0 ? 0 : port >> (16 - portBits)}`

test('rows have one key when the kernel takes them for one row, and only then', () => {
  fc.assert(
    fc.property(row, row, fc.boolean(), (a, b, alike) => {
      // Two that differ in one field only are where keys would run into each other.
      const other = alike ? { ...a, portBits: b.portBits, port: b.port } : { ...b, label: a.label }
      for (const two of [b, other]) expect(keyOf(a) === keyOf(two)).toBe(compared(a) === compared(two))
    }),
    { numRuns: 20_000 },
  )
})
