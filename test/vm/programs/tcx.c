// SPDX-License-Identifier: Apache-2.0
// tcx DEVICE FOLDER: puts a program that passes everything on both directions of a device, held by pins in a folder of bpffs, as the
// guard does (tcx, from 6.6). The kernel patches its code for the first of them. Ends with 1 where there is no tcx.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than the headers of Debian 12: <linux/bpf.h> of 6.6.
enum { TCX_INGRESS = 46, TCX_EGRESS = 47, TCX_NEXT = -1 };

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int load(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TCX_NEXT },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SCHED_CLS };
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof code / sizeof *code;
	attr.license = (uintptr_t) "GPL";
	return bpf(BPF_PROG_LOAD, &attr);
}

static int attach(int program, unsigned device, int where, const char *pin)
{
	union bpf_attr attr = { 0 };
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_ifindex = device;
	attr.link_create.attach_type = (uint32_t)where;
	int link = bpf(BPF_LINK_CREATE, &attr);
	if (link < 0)
		return link;
	attr = (union bpf_attr){ .pathname = (uintptr_t)pin };
	attr.bpf_fd = (uint32_t)link;
	return bpf(BPF_OBJ_PIN, &attr);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	unsigned device = if_nametoindex(argv[1]);
	int program = load();
	char in[256], out[256];
	snprintf(in, sizeof in, "%s/%s-in", argv[2], argv[1]);
	snprintf(out, sizeof out, "%s/%s-out", argv[2], argv[1]);
	if (!device || program < 0 || attach(program, device, TCX_INGRESS, in) < 0 ||
	    attach(program, device, TCX_EGRESS, out) < 0) {
		fprintf(stderr, "tcx: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
