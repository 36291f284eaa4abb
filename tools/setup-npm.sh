#!/bin/sh
# npm ci, run by the Node that the packages are for. An older one leaves out the optional packages whose `engines` it does
# not meet, and with them native parts of the tools; so where Node is older, ours is fetched first, beside the tree.
set -eu
cd "$(dirname "$0")/.."

least=24
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt "$least" ]; then
  mkdir -p build/node
  node -p 'JSON.stringify({ private: true, allowScripts: { node: true }, dependencies: { node: require("./package.json").devDependencies.node } })' \
    >build/node/package.json
  [ -x build/node/node_modules/.bin/node ] || npm install --prefix build/node --no-package-lock --loglevel=error
  PATH=$PWD/build/node/node_modules/.bin:$PATH
fi
npm ci --loglevel=error
