import { DEFAULT_MACHINE } from '../../../src/wg/machine-types.ts'
import { Fleet } from './fleet.ts'
const CALM = { directoryLoss: 0, directoryDelayMs: 500, probeLoss: 0, crash: 0 }
const w={"seed":19,"directoryDelayMs":100,"directoryLoss":0.3,"probeLoss":0.1,"crash":0.01,"traffic":1}
const f = new Fleet({nodes:4,config:DEFAULT_MACHINE,resyncMs:400000,...w,...CALM})
f.run(20000); f.options={...f.options,...w}
let last=''
const R=(ms:number)=>{ for(let t=0;t<ms/1000;t++){ f.run(1000); const s=f.nodes.map(n=>n.state? n.state.rotation.phase+((n.state.rotation as any).slot??'')+'/'+n.state.slots.map(x=>x.generation)+'/'+n.state.acknowledged+'<'+n.state.revision+' e'+n.egress: 'dead'+' e'+n.egress).join(' | ');
 if(s!==last){console.log(Math.round(f.now/1000), s, 'losses', f.losses.length, f.losses.at(-1)? JSON.stringify(f.losses.at(-1)):''); last=s}} }
R(74000); for(let i=0;i<4;i++) f.post(i,{kind:'rotate',reason:'Rotate',wallMs:f.wall(i)})
R(19000+28000+59000); f.cut(0); R(64000); f.cut(0,false); f.crash(1); f.post(3,{kind:'rotate',reason:'Rotate',wallMs:f.wall(3)})
console.log('calm')
f.options={...f.options,...CALM}
for (let i=0;i<20;i++) { R(60000); if (f.settled) break }
console.log(f.now, f.losses.slice(0,5), f.settled)
