# Instruments of the VM tests. Static: they run as they are in a guest and on this machine.
VM_PROGRAMS := $(addprefix build/vm/programs/,traffic sniff door scan tsc early)

.PHONY: vm-programs vm-images
vm-programs: $(VM_PROGRAMS)
$(VM_PROGRAMS): | $(STAMPS)/apt

build/vm/programs/%: test/vm/programs/%.c test/vm/programs/wire.h
	@mkdir -p $(@D)
	gcc $(LAB_CFLAGS) -static -o $@ $<

vm-images: vm-programs
	@tools/setup-apt.sh vm
	@node test/vm/prepare.ts $(KERNELS)
