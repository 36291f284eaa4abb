# The lab's programs, the demo and what ends it. Included by the Makefile.
LAB_CFLAGS := -std=gnu17 -O2 -Wall -Wextra -Werror
LAB_CLIENTS := resolve connected fresh prober hold dnsload
LAB_PROGRAMS := $(addprefix build/lab/,$(LAB_CLIENTS) web resolve-musl)

.PHONY: lab-programs demo demo-vm demo-down

lab-programs: $(LAB_PROGRAMS)

$(addprefix build/lab/,$(LAB_CLIENTS)): build/lab/%: lab/clients/%.c lab/clients/wire.h
	@mkdir -p $(@D)
	gcc $(LAB_CFLAGS) -o $@ $<

build/lab/web: lab/servers/web.c lab/clients/wire.h
	@mkdir -p $(@D)
	gcc $(LAB_CFLAGS) -o $@ $<

build/lab/resolve-musl: lab/clients/resolve.c lab/clients/wire.h
	@mkdir -p $(@D)
	musl-gcc -static $(LAB_CFLAGS) -o $@ $<

# KEEP=1 leaves everything up; DEMO_JSON=FILE writes the table as JSON.
demo: need-root build lab-programs vm-programs ## show gate and seal line by line on this machine (KEEP=1 leaves it up)
	node lab/demo.ts

# KERNEL=6.1 for the older one.
demo-vm: build lab-programs vm-programs ## show the seal in QEMU, on the WireGuard of Debian's kernel 6.12 (KERNEL=6.1): minutes
	@tools/setup-apt.sh vm
	node lab/demo-vm.ts $(KERNEL)

demo-down: need-root ## end a demo that was left up
	node lab/demo.ts --down
