# The agent for one node. It needs the host's network namespace, bpffs, /run/sekisho of the host, root, and the
# capabilities NET_ADMIN, NET_RAW, BPF, PERFMON (SYS_ADMIN on kernels that do not split BPF permissions, and to mount
# bpffs). deploy/kustomize/daemonset.yaml is how.

FROM debian:bookworm-slim AS build
WORKDIR /opt/sekisho
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates make gcc libc6-dev clang-19 libbpf-dev pkg-config nodejs npm
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY native native
RUN make -C native && make -C native/bpf
# The `node` package is for development on a machine with an older Node; here it is the runtime itself.
RUN cp -L node_modules/.bin/node /usr/local/bin/node24 && npm prune --omit=dev

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libbpf1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/sekisho
COPY --from=build /usr/local/bin/node24 /usr/local/bin/node
COPY --from=build /opt/sekisho/node_modules node_modules
COPY --from=build /opt/sekisho/build/sekisho.node /opt/sekisho/build/datapath.o /opt/sekisho/build/guard.o build/
COPY package.json LICENSE ./
COPY bin bin
COPY src src
ENTRYPOINT ["/opt/sekisho/bin/sekisho"]
CMD ["agent", "--config", "/etc/sekisho/sekisho.yaml"]
