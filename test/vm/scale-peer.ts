/** Another process of the machine: how long it waits for the lock of the routing tables, and wg(8) for the same work. */
import { loadNative } from '../../src/native/load.ts'
import { NETLINK_ROUTE, openConnection } from '../../src/netlink/netlink.ts'
import { linkByName, setLinkUp } from '../../src/netlink/links.ts'
import { serve } from '../support/datapath/in-namespace.ts'

const EVERY_MS = 4

const connection = openConnection(loadNative(), NETLINK_ROUTE)
let longest = 0

/** Changes nothing, and takes the lock for it. */
function take(): void {
  const lo = linkByName(connection, 'lo')
  if (lo === undefined) return
  const start = performance.now()
  setLinkUp(connection, lo.index, true)
  longest = Math.max(longest, performance.now() - start)
}

setInterval(take, EVERY_MS)

serve({
  /** Longest wait since the last call, ms. */
  longest() {
    const ms = longest
    longest = 0
    return ms
  },
})
