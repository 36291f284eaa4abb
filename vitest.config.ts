import { defineConfig } from 'vitest/config'

const SEAL = ['test/kernel/seal-*.test.ts', 'test/kernel/wg-heal.test.ts']

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/{agent,core,files,threads,config,policy,dns,fqdn,identity,bpf,datapath,netlink,wg,http,metrics,cli,native,property,fuzz,repo}/**/*.test.ts',
          ],
          testTimeout: 20_000,
          // A process for each of a hundred files takes a third of the time; files that share one leave nothing behind.
          isolate: false,
        },
      },
      {
        // That every scenario of the bench runs. What it measures is looked at by nobody.
        test: {
          name: 'bench',
          include: ['test/bench/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
        },
      },
      {
        // Real sockets, maps, programs and namespaces: one file at a time, as root.
        test: {
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts'],
          exclude: SEAL,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Agents with real devices in real time: they mostly wait, so others may run beside them.
        test: {
          name: 'seal',
          include: SEAL,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
