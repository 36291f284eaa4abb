import { describe, expect, it } from 'vitest'
import { parseIp, writeAddr16 } from '../../../src/core/ip.ts'
import { Questions, type Question } from '../../../src/wg/probe/questions.ts'
import { isAddress, Target, Targets } from '../../../src/wg/probe/targets.ts'

/** An addr16 that does not begin at the first word. */
const AT = 3
const words = (text: string): Uint32Array => {
  const all = new Uint32Array(AT + 4)
  writeAddr16(parseIp(text), new Uint8Array(all.buffer), AT * 4)
  return all
}
const address = { family: 4, words: words('10.0.0.1').subarray(AT) } as const
const question = (uid = 'a'): Question => ({ uid, slot: 0, open: 1, rttMs: 0, announcement: undefined, ended: false })

describe('targets', () => {
  it('are found by UID and by each address, and an address belongs to the first who names it', () => {
    const targets = new Targets()
    targets.replace(
      [
        { uid: 'a', addresses: [parseIp('10.0.0.1'), parseIp('fd00::1')] },
        { uid: 'b', addresses: [parseIp('10.0.0.1'), parseIp('10.0.0.2'), parseIp('10.0.0.3')] },
      ],
      0,
    )
    expect(targets.at(words('10.0.0.1'), AT)?.uid).toBe('a')
    expect(targets.at(words('fd00::1'), AT)?.uid).toBe('a')
    expect(targets.at(words('10.0.0.2'), AT)?.uid).toBe('b')
    expect(targets.at(words('10.0.0.3'), AT)).toBeUndefined()
    expect(targets.get('b')?.addresses.map((one) => isAddress(one, words('10.0.0.2'), AT))).toEqual([true])
    targets.replace([{ uid: 'b', addresses: [parseIp('fd00::1')] }], 0)
    expect(targets.get('a')).toBeUndefined()
    expect(targets.at(words('10.0.0.1'), AT)).toBeUndefined()
    expect(targets.at(words('fd00::1'), AT)?.uid).toBe('b')
  })

  it('are told apart by each octet of thousands of addresses', () => {
    const targets = new Targets()
    const texts = Array.from({ length: 3000 }, (_, i) => [`10.${i >> 8}.${i & 255}.1`, `fd00:${i.toString(16)}::1`])
    targets.replace(
      texts.map((both, i) => ({ uid: `${i}`, addresses: both.map((text) => parseIp(text)) })),
      0,
    )
    for (const [i, both] of texts.entries())
      for (const text of both) expect(targets.at(words(text), AT)?.uid).toBe(`${i}`)
    for (const text of ['10.1.1.2', '10.1.0.2', '9.1.1.1', 'fd00:1::2', 'fd01:1::1', 'fd00:1:0:1::1']) {
      expect(targets.at(words(text), AT)).toBeUndefined()
    }
  })

  it('have a share of answers that fills again, and is not filled by being named again', () => {
    const target = new Target('a', 0)
    const burst = (now: number): number => {
      let got = 0
      while (target.mayAnswer(now)) got++
      return got
    }
    expect(burst(0)).toBe(40)
    expect(burst(500)).toBe(10)
    expect(burst(1e9)).toBe(40)
    const targets = new Targets()
    const list = [{ uid: 'a', addresses: [parseIp('10.0.0.1')] }]
    targets.replace(list, 0)
    while (targets.get('a')?.mayAnswer(0) === true) continue
    targets.replace(list, 0)
    expect(targets.get('a')?.mayAnswer(0)).toBe(false)
  })
})

describe('questions', () => {
  const counting = (): ((words: Uint32Array) => void) => {
    let next = 0
    return (words) => {
      for (let i = 0; i < words.length; i++) words[i] = next++
    }
  }

  it('are known by all of their number, and expire in the order they were asked', () => {
    const questions = new Questions(counting())
    const asked = [10, 20, 30].map((at) => questions.add(question(), address, 64, at))
    const [first, second] = asked
    if (first === undefined || second === undefined) throw new Error('none')
    expect(questions.get({ high: first.high, low: first.low })).toBe(first)
    expect(questions.get({ high: first.high + 1, low: first.low })).toBeUndefined()
    expect(questions.get({ high: first.high, low: second.low })).toBeUndefined()
    questions.delete(first)
    expect(questions.get(first)).toBeUndefined()
    expect([...questions.expire(19)]).toEqual([])
    expect([...questions.expire(20)]).toEqual([second])
    expect(questions.size).toBe(1)
    questions.forget(() => false)
    expect(questions.size).toBe(0)
  })

  it('never share a number, and draw new ones when the pool is used up', () => {
    // A poor source: each number twice in a row.
    let next = 0
    const questions = new Questions((words) => {
      for (let i = 0; i < words.length; i++) words[i] = next++ >> 2
    })
    const lows = new Set<number>()
    for (let i = 0; i < 3000; i++) lows.add(questions.add(question(), address, 64, 0).low)
    expect(lows.size).toBe(3000)
    expect(questions.size).toBe(3000)
  })
})
