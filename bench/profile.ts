/** Where the time goes. `node bench/profile.ts` is `node bench/run.ts --only profile`; other options are passed on. */
process.argv.push('--only', 'profile')
await import('./run.ts')
