/** Imports go one way: main -> cli, agent, worker -> rooms -> {bpf, netlink, native, core}. */
const rooms = 'config|files|threads|dns|policy|fqdn|identity|datapath|cilium|wg|kube|http|metrics|doctor'
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'core-imports-nothing-of-ours',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: '^src/', pathNot: '^src/core/' },
    },
    {
      name: 'floor-rooms-import-the-floor',
      comment: 'bpf, netlink and native stand on each other and on core, on no room above them',
      severity: 'error',
      from: { path: '^src/(bpf|netlink|native)/' },
      to: { path: '^src/', pathNot: '^src/(bpf|netlink|native|core)/' },
    },
    {
      name: 'rooms-never-import-sideways',
      comment: 'what a room needs of another is an interface it declares itself, wired in a composition root',
      severity: 'error',
      from: { path: `^src/(${rooms})/` },
      to: { path: '^src/', pathNot: ['^src/$1/', '^src/(bpf|netlink|native|core)/'] },
    },
    {
      name: 'pure-rooms',
      comment: 'policy, fqdn and config do no I/O and read no clock of their own',
      severity: 'error',
      from: { path: '^src/(policy|fqdn|config)/' },
      to: { path: '^(node:)?(fs|net|dgram|child_process|worker_threads|http|dns|timers)|^src/(native|netlink)/' },
    },
    {
      name: 'only-native-loads-the-addon',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/native/' },
      to: { path: '\\.node$' },
    },
    {
      name: 'dns-packet-stays-off-the-data-path',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(cli|doctor)/' },
      to: { path: 'node_modules/dns-packet' },
    },
    {
      name: 'rooms-do-not-know-the-composition-roots',
      severity: 'error',
      from: { path: `^src/(${rooms}|bpf|netlink|native|core|cli)/` },
      to: { path: '^src/(main|worker|ledger|tcp|compiler)\\.ts$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.cjs'] },
  },
}
