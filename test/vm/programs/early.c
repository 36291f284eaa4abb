// SPDX-License-Identifier: Apache-2.0
// early DEVICE: has the kernel patch its code for what the agent does under traffic, and stays in the background, as the kernel patches
// it back when nobody needs it: a program that passes everything on both directions of a device, as the guard has it where there is
// tcx (6.6), and a socket that is told when packets came, as the probes have it.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

static int attach(int program, unsigned device, int where)
{
	union bpf_attr attr = { 0 };
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_ifindex = device;
	attr.link_create.attach_type = (uint32_t)where;
	return bpf(BPF_LINK_CREATE, &attr);
}

static void tell(const char *what)
{
	fprintf(stderr, "early: %s: %s\n", what, strerror(errno));
}

int main(int argc, char **argv)
{
	unsigned device = argc == 2 ? if_nametoindex(argv[1]) : 0;
	if (!device)
		return 2;
	int program = load();
	if (program < 0 || attach(program, device, TCX_INGRESS) < 0 || attach(program, device, TCX_EGRESS) < 0)
		tell("tcx");
	int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0)
		tell("SO_TIMESTAMPNS");
	// A worker of the kernel does it, in its own time.
	usleep(100000);
	pid_t child = fork();
	if (child != 0)
		return child < 0;
	for (;;)
		pause();
}
