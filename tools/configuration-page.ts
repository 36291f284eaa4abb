import { leaves, variableOf } from '../src/config/environment.ts'
import { isSection, type Leaf, type Section } from '../src/config/kinds.ts'
import { configSchema } from '../src/config/schema.ts'
import { formatDuration, formatSize } from '../src/config/units.ts'

/** docs/configuration.md. */
export function configurationPage(): string {
  const root = configSchema as unknown as Section
  return `# Configuration

<!-- Written by \`make docs\` from src/config/schema.ts; edits here are lost. -->

One YAML file (\`sekisho agent --config FILE\`) and the environment, which wins. The whole is read and checked before
anything is opened: every problem is told at once, with line and column, and the exit status is 64.
\`sekisho agent --check --config FILE\` only reads it. An unknown key is an error.

Durations are written \`500ms\`, \`10s\`, \`5m\`, \`2h\`; sizes \`512B\`, \`64KiB\`, \`4MiB\`, \`1GiB\`. Lists in variables are
separated by commas. An unknown variable that begins with \`SEKISHO_<SECTION>_\` is an error; what Kubernetes makes of
Services is left alone (set \`enableServiceLinks: false\` where a Service named \`sekisho-http\` would set
\`SEKISHO_HTTP_PORT\`).

The least that must be given:

\`\`\`yaml config
datapath:
  endpoints: /etc/sekisho/endpoints.yaml
policy:
  paths: [/etc/sekisho/policies]
\`\`\`

The least for a node that only keeps the seal, without the gate:

\`\`\`yaml config
datapath:
  mode: off
wireguard:
  mode: manage
  prefixes: [10.1.1.0/24, 'fd10:1::/64']
  directory: { path: /srv/sekisho-keys }
\`\`\`

${Object.entries(root.properties)
  .map(([key, node]) => (isSection(node) ? section(key, node) : ''))
  .join('\n')}`
}

function section(name: string, node: Section): string {
  const rows = [...leaves(node, `${name}.`)].map(({ path, leaf }) => row(path, leaf))
  const parts = Object.entries(node.properties).flatMap(([key, child]) =>
    isSection(child) ? [`\`${name}.${key}\`: ${child.description}`] : [],
  )
  return `## ${name}

${[node.description, ...parts].join('\n')}

| setting | default | values | meaning |
|---|---|---|---|
${rows.join('\n')}
`
}

function row(path: string, leaf: Leaf): string {
  const meaning = `${leaf.description} \`${variableOf(path)}\``
  return `| \`${path}\` | ${preset(leaf)} | ${values(leaf)} | ${meaning} |`
}

function preset(leaf: Leaf): string {
  if (leaf.default === undefined) return '**required**'
  if (Array.isArray(leaf.default)) return leaf.default.length === 0 ? 'none' : `\`[${leaf.default.join(', ')}]\``
  return leaf.default === '' ? 'empty' : `\`${amount(leaf, leaf.default as string | number | boolean)}\``
}

function values(leaf: Leaf): string {
  if (leaf.enum !== undefined) return leaf.enum.map((value) => `\`${value}\``).join(', ')
  if (leaf.minimum !== undefined && leaf.maximum !== undefined) {
    const but = leaf.except === undefined ? '' : `, not ${leaf.except.join(', ')}`
    return `${amount(leaf, leaf.minimum)} to ${amount(leaf, leaf.maximum)}${but}`
  }
  if (leaf.kind === 'toggle') return '`true`, `false`'
  if (leaf.kind === 'list') {
    return `list of ${{ address: 'addresses', prefix: 'prefixes' }[leaf.itemKind as string] ?? `${leaf.itemKind}s`}`
  }
  return leaf.pattern === undefined ? leaf.kind : `\`${leaf.pattern}\``
}

function amount(leaf: Leaf, value: string | number | boolean): string {
  if (typeof value !== 'number') return String(value)
  if (leaf.kind === 'duration') return formatDuration(value)
  return leaf.kind === 'size' ? formatSize(value) : String(value)
}
