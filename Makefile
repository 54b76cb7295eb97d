# SPDX-License-Identifier: GPL-2.0
# dm-preserve: what can be done here. Each target is a script in scripts/; "make demo" and "make test"
# each do all the set-up they need, and none when it is there already.

export KERNEL KDIR TESTS TIMES N PART RUSTC BINDGEN DESTDIR PREFIX

.PHONY: traps help setup packages module tools demo test test-host test-model test-simulate test-fuzz test-vm test-powercut test-waits test-measure fuzz simulate bench compare profile shell lint install clean

help: ## what can be made (the default)
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo 'Variables:'
	@echo '  KERNEL=debug  the kernel with lockdep, KASAN, atomic-sleep checks and kmemleak (default: normal)'
	@echo '  KDIR=DIR      build for, and boot, another built Rust-enabled kernel tree; RUSTC= and BINDGEN= choose its tools'
	@echo '  TESTS=WORD    only tests whose name contains WORD'
	@echo '  TIMES=N       random tests in the guest go N times as far'
	@echo '  ACCEL=tcg     emulate, where kvm is there but does not do (default: found out)'
	@echo 'Set-up and results are kept in DM_PRESERVE_CACHE (default ~/.cache/dm-preserve), outside this folder.'

setup: ## install packages, build the kernel and the guest image (once, about 20 minutes)
	@scripts/setup

# Who gives a kernel tree and its tools needs none of ours: nothing is installed then.
module: $(if $(and $(KDIR),$(RUSTC),$(BINDGEN)),,setup) ## build the module; prints its path
	@scripts/build-module

packages:
	@scripts/setup-packages

tools: packages ## build the preserve tool and the test programs; prints their folder
	@scripts/build-tools

demo: setup ## backups of a live file system, across a reboot and a power cut, in three guests
	@scripts/demo

test: setup ## all tests; the last line is "N passed, N failed"
	@scripts/test

test-host: packages ## the tests that need no kernel
	@scripts/test host

test-model: packages ## the protocol model: all interleavings of small cases
	@scripts/test model

test-simulate: packages ## some histories of the module's engine in the simulator
	@scripts/test simulate

test-fuzz: packages ## a few seconds of each fuzz target
	@scripts/test fuzz

test-vm: setup ## the tests of the module, in a guest
	@scripts/test vm

test-powercut: setup ## N= real power cuts (QEMU is killed), and what is found after each
	@scripts/powercut $(if $(N),--rounds $(N))

test-waits: setup ## the longest wait of a write under load, in counted instructions
	@scripts/waits

test-measure: setup ## that compare and profile work, on a few writes
	@scripts/test measure

simulate: packages ## histories of the module's engine, with power cuts, for MINUTES= (10) or HOURS=
	@scripts/simulate $(if $(HOURS),--hours $(HOURS)) $(if $(MINUTES),--minutes $(MINUTES))

traps: packages ## break one rule of the engine after another: the simulator has to notice (an hour or more); TRAP= for one
	@scripts/traps $(TRAP)

fuzz: packages ## FUZZ= (a target; all) fuzzed for SECONDS= (60) each, going on from what earlier runs found
	@scripts/fuzz $(FUZZ) $(if $(SECONDS),--seconds $(SECONDS))

bench: setup ## instructions and I/Os per write, beside dm-linear and dm-snapshot; activation
	@scripts/bench $(PART)

compare: setup ## instructions per I/O of this module beside those of commit (or .ko) OLD=, in one guest
	@scripts/compare $(OLD)

profile: setup ## where the instructions of CASE= (settled) go, by function and call path
	@scripts/profile $(CASE)

shell: setup ## a guest with the module loaded and disks to play with
	@scripts/shell

lint: setup ## rustfmt, clippy and shellcheck
	@scripts/lint

install: ## install module, tool and manual pages for the kernel of KDIR=
	@scripts/install

clean: ## remove this checkout's build output (kernel and guest image stay)
	@scripts/clean
