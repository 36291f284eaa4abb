import { expect, test } from 'vitest'
import { ask, dns, endpoint, pods, policy, rule, snapshot, entity } from './support/build.ts'

/** Each endpoint, server, port and protocol decides for itself: the scenario of Cilium's FullPathDependence test. */
const snap = snapshot({
  endpoints: [
    endpoint(1, 'ep1', '10.0.0.1'),
    endpoint(2, 'ep2', '10.0.0.2'),
    endpoint(3, 'ep3', '10.0.0.3'),
    endpoint(11, 'dst1', '10.0.1.1', 'fd00::1:1'),
    endpoint(12, 'dst2', '10.0.1.2'),
    endpoint(13, 'dst3', '10.0.1.3'),
    endpoint(14, 'dst4', '10.0.1.4'),
  ],
  policies: [
    policy('ep1', [
      rule([pods({ app: 'dst1' })], ['UDP/53'], dns('*.ubuntu.com', 'aws.amazon.com')),
      rule([pods({ app: 'dst1' })], ['TCP/53'], dns('sub.ubuntu.com')),
      rule([pods({ app: 'dst2' })], ['UDP/53'], dns('cilium.io')),
      rule([entity('all')], ['UDP/54'], dns('example.com')),
    ]),
    policy('ep3', [
      rule([pods({ app: 'dst1' })], ['UDP/53'], dns('example.com')),
      rule([pods({ app: 'dst3' })], ['UDP/53'], dns('*')),
      rule([pods({ app: 'dst3' })], ['TCP/53'], dns('example.com')),
      rule([pods({ app: 'dst4' })], ['UDP/53'], null),
    ]),
  ],
})

test.each([
  [1, 1, 1, 'UDP/53', 'www.ubuntu.com', 2],
  [2, 1, 1, 'TCP/53', 'www.ubuntu.com', 1],
  [3, 1, 1, 'TCP/53', 'sub.ubuntu.com', 2],
  [4, 1, 1, 'UDP/53', 'sub.ubuntu.com', 2],
  [5, 1, 1, 'UDP/54', 'cilium.io', 1],
  [6, 1, 2, 'UDP/53', 'cilium.io', 2],
  [7, 1, 2, 'UDP/53', 'aws.amazon.com', 1],
  [8, 1, 1, 'UDP/54', 'example.com', 2],
  [9, 2, 1, 'UDP/53', 'cilium.io', 0],
  [10, 3, 1, 'UDP/53', 'example.com', 2],
  [11, 3, 1, 'UDP/53', 'aws.amazon.com', 1],
  [12, 3, 1, 'UDP/54', 'example.com', 0],
  [13, 3, 2, 'UDP/53', 'example.com', 0],
  [14, 3, 3, 'UDP/53', 'example.com', 2],
  [15, 3, 3, 'TCP/53', 'example.com', 2],
  [16, 3, 3, 'TCP/53', 'amazon.com', 1],
  [17, 3, 4, 'TCP/53', 'example.com', 0],
  [18, 3, 4, 'UDP/53', 'example.com', 2],
])('row %i: endpoint %i asks server %i at %s for %s', (_row, from, to, at, name, verdict) => {
  expect(ask(snap, `10.0.0.${from}`, `10.0.1.${to}`, at, name)).toBe(verdict)
})

test('a server is the same over both families', () => {
  expect(ask(snap, '10.0.0.1', 'fd00::1:1', 'UDP/53', 'www.ubuntu.com')).toBe(2)
  expect(ask(snap, '10.0.0.1', 'fd00::1:2', 'UDP/53', 'www.ubuntu.com')).toBe(0)
})

test('a source that is no endpoint has no index and no rule', () => {
  expect(ask(snap, '10.0.0.99', '10.0.1.1', 'UDP/53', 'www.ubuntu.com')).toBe(0)
})
