/** Compiles the agent's code for the guest, by running it. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { COMPILED, HOME, WRITE_COMPILED } from './bundle.ts'

/** Long enough for two agents to find each other, s. */
const WARM_SECONDS = 6

const configOf = (index: number): object => ({
  node: { name: `warm${index}`, uid: `warm${index}`, addresses: [`192.168.0.${index}`] },
  datapath: { mode: 'off', bpffs: `/tmp/bpf${index}` },
  state: { dir: `/tmp/state${index}` },
  wireguard: {
    mode: 'manage',
    driver: 'userspace',
    command: '/tmp/wireguard-go',
    devicePrefix: `warm${index}`,
    target: 'strict',
    prefixes: [`10.1.${index}.0/24`],
    endpoints: [`192.168.0.${index}`],
    directory: { kind: 'folder', path: '/tmp/directory' },
  },
})

/**
 * Runs two agents for a moment where the guest will have them, so that one writes what it has compiled into `build`: in
 * the guest's files, with namespaces of their own, and WireGuard of a program. Without root there is no such place: then
 * the guest compiles by itself, and is slower.
 */
export function warmUp(base: string, home: string): void {
  if (process.geteuid?.() !== 0) return
  for (const folder of [HOME, 'tmp', 'proc', 'sys', 'dev']) mkdirSync(join(base, folder), { recursive: true })
  for (const i of [1, 2]) writeFileSync(join(home, `build/warm${i}.yaml`), JSON.stringify(configOf(i)))
  const script = `
    mount --bind '${home}' '${base}${HOME}'
    mount -t proc proc '${base}/proc'
    mount -t sysfs sys '${base}/sys'
    mount -t tmpfs tmp '${base}/tmp'
    mount -t tmpfs dev '${base}/dev'
    mount -t tmpfs run /run
    cd '${base}'
    mkdir dev/net tmp/directory
    mknod dev/null c 1 3; mknod dev/urandom c 1 9; mknod dev/net/tun c 10 200
    ln -s /tmp var
    cp "$(command -v wireguard-go)" tmp/wireguard-go
    ip netns add warm1
    ip netns add warm2
    ip -n warm1 link add eth0 type veth peer name eth0 netns warm2
    for i in 1 2; do
      mkdir tmp/bpf$i
      mount -t bpf bpf tmp/bpf$i
      ip -n warm$i link set lo up
      ip -n warm$i link set eth0 up
      ip -n warm$i address add 192.168.0.$i/24 dev eth0
      ip -n warm$i route add default via 192.168.0.9
      write=; [ $i = 2 ] || write=yes
      ${WRITE_COMPILED}=$write ip netns exec warm$i timeout -s TERM ${WARM_SECONDS} \
        chroot . /bin/sh ${HOME}/bin/sekisho agent --config ${HOME}/build/warm$i.yaml >tmp/log$i 2>&1 &
    done
    sleep ${WARM_SECONDS - 1}
    for path in wg 'wg/peers?limit=100' wg 'wg/peers?limit=100'; do
      ip netns exec warm1 chroot . /bin/busybox wget -q -O /tmp/answer "http://127.0.0.1:9876/v1/$path"
    done
    wait
    cat tmp/log1 tmp/answer >.${HOME}/build/warm.log
    rm var
    umount tmp/bpf1 tmp/bpf2`
  // With process numbers of its own: its WireGuard outlives the agents, and ends with the script.
  execFileSync('unshare', ['--mount', '--net', '--pid', '--fork', 'sh', '-c', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin` },
  })
  if (!existsSync(join(home, COMPILED))) console.log('no compiled code of the agent: guests are slower (warm.log)')
}
