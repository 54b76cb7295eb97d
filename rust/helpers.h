/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the device-mapper header, the wrappers of helpers.c, and constants that are
 * macros with casts, which bindgen cannot evaluate by itself.
 */
#ifndef DM_PRESERVE_HELPERS_H
#define DM_PRESERVE_HELPERS_H

#include <linux/dax.h>
#include <linux/device-mapper.h>
#include <linux/blkdev.h>
#include <linux/crc32.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/part_stat.h>
#include <linux/percpu-refcount.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

static const u32 DM_PRESERVE_CONST_REQ_FUA = (__force u32)REQ_FUA;
static const u32 DM_PRESERVE_CONST_REQ_PREFLUSH = (__force u32)REQ_PREFLUSH;
static const u32 DM_PRESERVE_CONST_REQ_NOWAIT = (__force u32)REQ_NOWAIT;
static const u32 DM_PRESERVE_CONST_REQ_RAHEAD = (__force u32)REQ_RAHEAD;
static const u32 DM_PRESERVE_CONST_REQ_ATOMIC = (__force u32)REQ_ATOMIC;
static const u32 DM_PRESERVE_CONST_REQ_SYNC = (__force u32)REQ_SYNC;
static const u32 DM_PRESERVE_CONST_REQ_OP_MASK = REQ_OP_MASK;
static const u8 DM_PRESERVE_CONST_BLK_STS_IOERR = (__force u8)BLK_STS_IOERR;
static const u8 DM_PRESERVE_CONST_BLK_STS_AGAIN = (__force u8)BLK_STS_AGAIN;
static const u8 DM_PRESERVE_CONST_BLK_STS_INVAL = (__force u8)BLK_STS_INVAL;
static const u8 DM_PRESERVE_CONST_BLK_STS_TIMEOUT = (__force u8)BLK_STS_TIMEOUT;
static const u8 DM_PRESERVE_CONST_BLK_STS_NOTSUPP = (__force u8)BLK_STS_NOTSUPP;
static const u8 DM_PRESERVE_CONST_BLK_STS_DM_REQUEUE = (__force u8)BLK_STS_DM_REQUEUE;
static const u32 DM_PRESERVE_CONST_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
static const u32 DM_PRESERVE_CONST_BLK_OPEN_READ = (__force u32)BLK_OPEN_READ;
static const u32 DM_PRESERVE_CONST_BLK_OPEN_WRITE = (__force u32)BLK_OPEN_WRITE;

bool dm_preserve_ref_tryget_live(struct percpu_ref *ref);
void dm_preserve_ref_get(struct percpu_ref *ref);
void dm_preserve_ref_put(struct percpu_ref *ref);
void dm_preserve_ref_kill(struct percpu_ref *ref);
void dm_preserve_init_completion(struct completion *done);
void dm_preserve_zero_fill_bio(struct bio *bio);
void dm_preserve_bio_advance(struct bio *bio, unsigned int bytes);
void dm_preserve_bio_set_dev(struct bio *bio, struct block_device *bdev);
sector_t dm_preserve_bdev_nr_sectors(struct block_device *bdev);
u32 dm_preserve_logical_block_size(struct block_device *bdev);
bool dm_preserve_bdev_read_only(struct block_device *bdev);
u64 dm_preserve_writes(struct block_device *bdev);
u64 dm_preserve_discards(struct block_device *bdev);
bool dm_preserve_try_module_get(void);
void dm_preserve_module_put(void);
void dm_preserve_preempt_disable(void);
void dm_preserve_preempt_enable(void);
void dm_preserve_smp_rmb(void);
void dm_preserve_cond_resched(void);
bool dm_preserve_is_killed(void);
u32 dm_preserve_path_devt(const struct path *path);
u32 dm_preserve_disk_devt(struct gendisk *disk);
struct kobject *dm_preserve_disk_kobj(struct gendisk *disk);
u32 dm_preserve_kobj_devt(struct kobject *kobj);
u32 dm_preserve_bdev_devt(struct block_device *bdev);
bool dm_preserve_bdev_is_shared(struct block_device *bdev);
unsigned int dm_preserve_noio_save(void);
void dm_preserve_noio_restore(unsigned int flags);
unsigned int dm_preserve_noreclaim_save(void);
void dm_preserve_noreclaim_restore(unsigned int flags);
u64 dm_preserve_now_ns(void);
u64 dm_preserve_monotonic_ns(void);

#endif
