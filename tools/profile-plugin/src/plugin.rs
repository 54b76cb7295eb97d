// SPDX-License-Identifier: GPL-2.0

//! The plugin interface of QEMU (`qemu-plugin.h`, version 4: QEMU 9.2 and later), which is of C.
//! All unsafe code of this crate is here.

#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ffi::CStr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::decode::kind;
use crate::decode::Kind;
use crate::session::Files;
use crate::session::Session;

/// The version of the interface that this plugin uses; QEMU looks at it.
#[no_mangle]
pub static qemu_plugin_version: c_int = 4;

/// `QEMU_PLUGIN_CB_NO_REGS`: a callback does not look at registers.
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;
/// `QEMU_PLUGIN_MEM_R` and `QEMU_PLUGIN_MEM_W`.
const READS: c_int = 1;
const WRITES: c_int = 2;
/// x86 has no longer instruction.
const LONGEST: usize = 15;

/// `qemu_plugin_u64`: a counter for each processor.
#[derive(Clone, Copy)]
#[repr(C)]
struct Counter {
    scoreboard: *mut c_void,
    offset: usize,
}

// SAFETY: The pointer is a handle that QEMU gave for as long as the plugin is there. QEMU's
// functions on counters may be called by any thread.
unsafe impl Send for Counter {}

type OnBlock = extern "C" fn(c_uint, *mut c_void);
type OnMemory = extern "C" fn(c_uint, u32, u64, *mut c_void);

extern "C" {
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        call: extern "C" fn(u64, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: extern "C" fn(u64, *mut c_void));
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut c_void,
        call: OnBlock,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        instruction: *mut c_void,
        operation: c_int,
        counter: Counter,
        operand: u64,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut c_void,
        call: OnMemory,
        flags: c_int,
        which: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const c_void) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_data(instruction: *const c_void, to: *mut c_void, room: usize) -> usize;
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut c_void;
    fn qemu_plugin_u64_get(counter: Counter, processor: c_uint) -> u64;
}

struct Plugin {
    session: Session,
    executed: Counter,
}

static PLUGIN: Mutex<Option<Plugin>> = Mutex::new(None);

fn plugin() -> MutexGuard<'static, Option<Plugin>> {
    PLUGIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// QEMU calls this once, with the words behind `-plugin FILE,`.
///
/// # Safety
///
/// `words` has `count` strings of C, as QEMU gives them.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _about: *const c_void,
    count: c_int,
    words: *const *const c_char,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: The caller promises so many strings.
    let words: Vec<_> = (0..count)
        .map(|at| unsafe { CStr::from_ptr(*words.add(at)) }.to_string_lossy())
        .collect();
    let session = Files::parse(words.iter().map(|word| &**word)).and_then(Session::new);
    match session {
        Ok(session) => begin(id, session),
        Err(why) => {
            say(&why);
            1
        }
    }
}

fn begin(id: u64, session: Session) -> c_int {
    // SAFETY: QEMU makes what it is asked for, of the size of one number for each processor.
    let scoreboard = unsafe { qemu_plugin_scoreboard_new(size_of::<u64>()) };
    let executed = Counter {
        scoreboard,
        offset: 0,
    };
    *plugin() = Some(Plugin { session, executed });
    // SAFETY: `id` is this plugin's, and the functions are of the types that QEMU calls.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
        qemu_plugin_register_atexit_cb(id, on_exit, std::ptr::null_mut());
    }
    0
}

/// A block has been translated: what shall be called while it is executed.
extern "C" fn on_translation(_id: u64, block: *mut c_void) {
    let mut plugin = plugin();
    let Some(Plugin { session, executed }) = plugin.as_mut() else {
        return;
    };
    // SAFETY: QEMU gives a block that is there until this function returns.
    let (address, length) = unsafe { (qemu_plugin_tb_vaddr(block), qemu_plugin_tb_n_insns(block)) };
    // No pointer, but what the callback gets back.
    let number = session.translated(address) as *mut c_void;
    // SAFETY: As above. The callback takes `number` for a number.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, number) };
    for index in 0..length {
        // SAFETY: As above, and it has so many instructions, which are there as long as the block.
        unsafe {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, *executed, 1);
            if address >> 63 == 1 {
                watch(instruction);
            }
        }
    }
}

/// Has calls and returns reported.
///
/// # Safety
///
/// `instruction` is one that QEMU gave, and is being translated.
unsafe fn watch(instruction: *mut c_void) {
    let mut code = [0u8; LONGEST];
    // SAFETY: The caller promises the instruction, and `code` has that much room.
    let length = unsafe { qemu_plugin_insn_data(instruction, code.as_mut_ptr().cast(), LONGEST) };
    let (call, which): (OnMemory, c_int) = match kind(&code[..length.min(LONGEST)]) {
        Kind::Call => (on_call, WRITES),
        Kind::Return => (on_return, READS),
        Kind::Other => return,
    };
    let data = std::ptr::null_mut();
    // SAFETY: The caller promises the instruction, and the function is of the type that QEMU calls.
    unsafe { qemu_plugin_register_vcpu_mem_cb(instruction, call, NO_REGISTERS, which, data) };
}

/// A block is about to be executed.
extern "C" fn on_block(processor: c_uint, number: *mut c_void) {
    let mut plugin = plugin();
    let Some(Plugin { session, executed }) = plugin.as_mut() else {
        return;
    };
    // SAFETY: The counter is there as long as the plugin, and QEMU says which processor it is.
    let executed = unsafe { qemu_plugin_u64_get(*executed, processor) };
    if let Err(why) = session.begin(number as usize, executed) {
        say(&why);
    }
}

extern "C" fn on_call(_processor: c_uint, _access: u32, slot: u64, _data: *mut c_void) {
    if let Some(plugin) = plugin().as_mut() {
        plugin.session.call(slot);
    }
}

extern "C" fn on_return(_processor: c_uint, _access: u32, slot: u64, _data: *mut c_void) {
    if let Some(plugin) = plugin().as_mut() {
        plugin.session.ret(slot);
    }
}

extern "C" fn on_exit(_id: u64, _data: *mut c_void) {
    if let Some(Err(why)) = plugin().as_ref().map(|plugin| plugin.session.end()) {
        say(&why);
    }
}

/// Tells the user of QEMU.
fn say(why: &str) {
    eprintln!("profile-plugin: {why}");
}
