#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What "make shell" starts in the guest: the module loaded, a word on what is there, a shell.
# Without udev, libdevmapper has to make the nodes in /dev/mapper itself.
export DM_DISABLE_UDEV=1
insmod /lib/dm-preserve.ko || echo "the module could not be loaded; see dmesg"

cat <<'END'

A guest to play in. The module is loaded; nothing here outlives the guest.
  /dev/vda, /dev/vdb   empty disks, 128 MiB each;   /dev/vdc   a tar archive with a file tree

Try, for example:
  preserve create live --origin /dev/vda --store /dev/vdb     a live device: /dev/mapper/live
  mkfs.ext4 -q /dev/mapper/live && mkdir -p /live && mount /dev/mapper/live /live
  tar -C /live -xf /dev/vdc                                   something to protect
  dd if=/dev/zero of=/live/junk.tmp bs=1M count=8 && sync     something that is not worth it
  preserve unprotect live --file /live/junk.tmp
  preserve snapshot live --freeze                             prints its id, 1
  rm -r /live/Documentation/admin-guide
  mkdir -p /frozen && preserve view live latest frozen
  mount -o ro,noload /dev/mapper/frozen /frozen && ls /frozen/Documentation/admin-guide
  umount /frozen && preserve remove frozen
  preserve backup live -o /tmp/1 && preserve apply /tmp/1 /tmp/copy.img
  preserve snapshot live --freeze                             2
  preserve map live backup | head                             what changed from 1 to 2 and is protected
  preserve backup live --from 1 -o /tmp/2 && preserve apply /tmp/2 /tmp/copy.img
  e2fsck -fn /tmp/copy.img && preserve status live
  umount /live && preserve remove live
More: preserve --help, dmsetup status, dmsetup table, ls /sys/block/dm-0/preserve
END
[ ! -f /run/vm/hints ] || cat /run/vm/hints
echo "exit (or Ctrl-A X) ends the guest."
exec bash -l
