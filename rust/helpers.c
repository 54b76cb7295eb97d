// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel, wrapped one by one so that Rust can call them.
 * No logic here: one line each.
 */
#include "helpers.h"

bool dm_preserve_ref_tryget_live(struct percpu_ref *ref) { return percpu_ref_tryget_live(ref); }
void dm_preserve_ref_get(struct percpu_ref *ref) { percpu_ref_get(ref); }
void dm_preserve_ref_put(struct percpu_ref *ref) { percpu_ref_put(ref); }
void dm_preserve_ref_kill(struct percpu_ref *ref) { percpu_ref_kill(ref); }
void dm_preserve_init_completion(struct completion *done) { init_completion(done); }
void dm_preserve_zero_fill_bio(struct bio *bio) { zero_fill_bio(bio); }
void dm_preserve_bio_advance(struct bio *bio, unsigned int bytes) { bio_advance(bio, bytes); }
void dm_preserve_bio_set_dev(struct bio *bio, struct block_device *bdev) { bio_set_dev(bio, bdev); }
sector_t dm_preserve_bdev_nr_sectors(struct block_device *bdev) { return bdev_nr_sectors(bdev); }
u32 dm_preserve_logical_block_size(struct block_device *bdev) { return bdev_logical_block_size(bdev); }
bool dm_preserve_bdev_read_only(struct block_device *bdev) { return bdev_read_only(bdev); }
u64 dm_preserve_writes(struct block_device *bdev) { return part_stat_read(bdev, ios[STAT_WRITE]); }
u64 dm_preserve_discards(struct block_device *bdev) { return part_stat_read(bdev, ios[STAT_DISCARD]); }
bool dm_preserve_try_module_get(void) { return try_module_get(THIS_MODULE); }
void dm_preserve_module_put(void) { module_put(THIS_MODULE); }
void dm_preserve_preempt_disable(void) { preempt_disable(); }
void dm_preserve_preempt_enable(void) { preempt_enable(); }
void dm_preserve_smp_rmb(void) { smp_rmb(); }
void dm_preserve_cond_resched(void) { cond_resched(); }
bool dm_preserve_is_killed(void) { return fatal_signal_pending(current); }
/* Of a block device itself, or of the one that a filesystem is on. */
static u32 dm_preserve_sb_devt(struct super_block *sb) { return sb->s_bdev ? sb->s_bdev->bd_dev : 0; }
u32 dm_preserve_path_devt(const struct path *path) { return S_ISBLK(d_inode(path->dentry)->i_mode) ? d_inode(path->dentry)->i_rdev : dm_preserve_sb_devt(path->dentry->d_sb); }
u32 dm_preserve_disk_devt(struct gendisk *disk) { return disk_devt(disk); }
struct kobject *dm_preserve_disk_kobj(struct gendisk *disk) { return &disk_to_dev(disk)->kobj; }
u32 dm_preserve_kobj_devt(struct kobject *kobj) { return kobj_to_dev(kobj)->devt; }
u32 dm_preserve_bdev_devt(struct block_device *bdev) { return bdev->bd_dev; }
/* A claim of a whole device counts twice. */
bool dm_preserve_bdev_is_shared(struct block_device *bdev) { return READ_ONCE(bdev->bd_holders) > (bdev_is_partition(bdev) ? 1 : 2); }
unsigned int dm_preserve_noio_save(void) { return memalloc_noio_save(); }
void dm_preserve_noio_restore(unsigned int flags) { memalloc_noio_restore(flags); }
unsigned int dm_preserve_noreclaim_save(void) { return memalloc_noreclaim_save(); }
void dm_preserve_noreclaim_restore(unsigned int flags) { memalloc_noreclaim_restore(flags); }
u64 dm_preserve_monotonic_ns(void) { return ktime_get_ns(); }
u64 dm_preserve_now_ns(void) { return ktime_get_real_ns(); }
