import { runTcp } from '../../../src/tcp.ts'
import { dieIfAsked } from './death.ts'

setInterval(() => dieIfAsked('tcp'), 20).unref()
runTcp()
