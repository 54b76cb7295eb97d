# SPDX-License-Identifier: GPL-2.0
# What a module needs that uses dm/: the bindings and the helpers. For a Kbuild, which sets dm-dir to the
# folder of this file before it includes it, adds helpers.o to its module, and lets the object of its crate's
# root depend on $(obj)/bindings_generated.rs.

# Where bindings.rs finds the generated file; rustdoc has no --env-set and needs it exported.
export DM_PRESERVE_OBJ := $(abspath $(obj))
rustflags-y += --env-set=DM_PRESERVE_OBJ=$(DM_PRESERVE_OBJ)

# The helpers have prototypes only where bindgen reads them.
CFLAGS_helpers.o := -I$(dm-dir)

# bindgen runs clang: what it does not understand of gcc's options is left out, as in rust/Makefile.
ifdef CONFIG_CC_IS_CLANG
bindgen-c-flags = $(c_flags)
else
bindgen-skip-c-flags := -mno-fp-ret-in-387 -mpreferred-stack-boundary=% -mskip-rax-setup -mgeneral-regs-only \
	-msign-return-address=% -mindirect-branch=thunk-extern -mindirect-branch-register -mfunction-return=thunk-extern \
	-mrecord-mcount -mabi=lp64 -mindirect-branch-cs-prefix -mstack-protector-guard% -mtraceback=no -mno-pointers-to-nested-functions \
	-mno-string -mno-strict-align -mstrict-align -mdirect-extern-access -mexplicit-relocs -mno-check-zero-division \
	-mfunction-arity -fconserve-stack -falign-jumps=% -falign-loops=% -femit-struct-debug-baseonly -fno-ipa-cp-clone \
	-fno-ipa-sra -fno-partial-inlining -fplugin-arg-arm_ssp_per_task_plugin-% -fno-reorder-blocks -fno-allow-store-data-races \
	-fasan-shadow-offset=% -fzero-call-used-regs=% -fno-stack-clash-protection -fno-inline-functions-called-once \
	-fsanitize=bounds-strict -fstrict-flex-arrays=% -fmin-function-alignment=% -fzero-init-padding-bits=% \
	-mharden-sls=% --param=% --param asan-% -fno-isolate-erroneous-paths-dereference -ffixed-x18 -fno-tree-vectorize
# The only architecture that has been tried.
bindgen-c-flags = $(filter-out $(bindgen-skip-c-flags),$(c_flags)) -w --target=x86_64-linux-gnu
endif

# Only device-mapper's own types are generated; bio, block_device and so on are the kernel crate's.
quiet_cmd_dm_bindgen = BINDGEN $@
      cmd_dm_bindgen = \
	$(BINDGEN) $< --rust-target 1.85 --use-core --with-derive-default --ctypes-prefix ffi --no-layout-tests \
		--no-debug '.*' --enable-function-attribute-detection --no-doc-comments --no-recursive-allowlist \
		--with-derive-custom-struct '.*=MaybeZeroable' --with-derive-custom-union '.*=MaybeZeroable' \
		--raw-line 'use kernel::bindings::*;' --raw-line 'use kernel::ffi;' --raw-line 'use pin_init::MaybeZeroable;' \
		--allowlist-type 'target_type|dm_target|dm_dev|dm_table|mapped_device|dm_.*_fn|iterate_devices_callout_fn|status_type_t|map_info|dax_device|dax_access_mode|dm_report_zones_args|__BindgenBitfieldUnit' \
		--allowlist-function 'dm_(register_target|unregister_target|get_device|put_device|devt_from_path|per_bio_data|accept_partial_bio|table_event|table_get_md|table_get_mode|disk|noflush_suspending|submit_bio_remap|get_md|put|preserve_.*)|bdev_count_inflight|kern_path|crc32c' \
		--allowlist-var 'DM_(MAPIO|ENDIO|TARGET)_.*|DM_PRESERVE_.*' \
		-o $@ -- $(bindgen-c-flags) -fno-builtin -D__BINDGEN__ -DMODULE -I$(dm-dir) ; \
	sed -Ei 's/pub const DM_PRESERVE_CONST_([a-zA-Z0-9_]*)/pub const \1/g' $@

$(obj)/bindings_generated.rs: $(dm-dir)/helpers.h FORCE
	$(call if_changed_dep,dm_bindgen)

targets += bindings_generated.rs

# The same file for a module in another folder.
$(obj)/helpers.o: $(dm-dir)/helpers.c FORCE
	$(call if_changed_rule,cc_o_c)
