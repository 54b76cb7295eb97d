#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What "make shell" starts in the guest: the module loaded, a word on what is there, a shell.
insmod /lib/dm-preserve.ko || echo "the module could not be loaded; see dmesg"

cat <<'END'

A guest to play in. The module is loaded; nothing here outlives the guest.
  /dev/vda, /dev/vdb   empty disks, 512 MiB each;   /dev/vdc   a tar archive with a file tree

Try, for example:
  dmsetup targets                      is the target there?
  preserve --help                      the tool
  mkfs.ext4 -q /dev/vda                something to protect

END
[ ! -f /run/vm/hints ] || cat /run/vm/hints
echo "exit (or Ctrl-A X) ends the guest."
exec bash -l
