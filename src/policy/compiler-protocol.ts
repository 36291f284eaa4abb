import type { Ip } from '../core/ip.ts'
import type { Problem } from './problem.ts'
import type { EndpointInput } from './rules.ts'

/** One policy file: its text, or why it could not be read (then its last good version stays in force). */
export type SourceFile =
  { readonly path: string; readonly text: string } | { readonly path: string; readonly unreadable: string }

/** Main to compiler: one set of files and endpoints to turn into a snapshot. */
export interface CompileRequest {
  readonly sequence: number
  readonly generation: number
  readonly files: readonly SourceFile[]
  /** Texts that were in force before this thread began (path -> text); used where a file is broken now. */
  readonly lastGood: Readonly<Record<string, string>>
  readonly endpoints: readonly EndpointInput[]
  readonly hostAddresses: readonly Ip[]
  readonly doubleStar: 'labels' | 'label'
}

/** Compiler to main. */
export interface CompileReply {
  readonly sequence: number
  readonly generation: number
  /** Absent when a file is broken that has no good version to stand in for it, or the endpoints contradict each other. */
  readonly buffer?: SharedArrayBuffer
  readonly problems: readonly Problem[]
  /** What the snapshot was made of: path, text in force and documents in it. */
  readonly inForce: readonly { readonly path: string; readonly text: string; readonly policies: number }[]
  readonly rules: number
  readonly selectorCount: number
  readonly shapeCount: number
  readonly seconds: number
}
