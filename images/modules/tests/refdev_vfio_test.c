// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives a reference device through the VFIO uAPI, as QEMU does and as QEMU
 * does not. Run it as root on a host where the device exists and nobody uses
 * it: refdev_vfio_test UUID. Prints TAP; the exit code is 1 if a check failed.
 */
#include <stdio.h>

#include "refdev_vfio_test.h"

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	uuid = argv[1];
	test_states();
	test_streams();
	test_timing();
	test_interrupts();
	test_dma();
	test_reinit();
	test_quiescent();
	test_logging();
	test_faults();
	default_knobs();
	printf("1..%d\n", checks);
	return failures ? 1 : 0;
}
