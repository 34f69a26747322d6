//! The modules that libc loads by itself: iconv's, and those of nsswitch.conf(5).
//! They are asked of the loader by a function of its own (`_dl_open`), whose
//! address libc reads in the loader's data (`_rtld_global_ro`): where they may lie
//! elsewhere than on the host, which exec knows, ours is put there. It finds what
//! dlopen would, and goes on to the loader's.
//!
//! Where that address stands no header says. If the functions around it, whose
//! names are known, do not tell, one after the other the words that are addresses
//! of the loader's code are made that of ours, which goes on to what was there,
//! until a dlopen comes by.

/// Stands in front of the loader.
pub(crate) fn stand_in_front() {
    #[cfg(target_arch = "x86_64")]
    front::stand();
}

#[cfg(target_arch = "x86_64")]
mod front {
    use crate::loader::{located, Jump};
    use crate::patch::Object;
    use core::arch::naked_asm;
    use core::ffi::{c_char, c_int, c_void, CStr};
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use privns_host::sys;

    const PAGE: usize = 4096;

    /// What nobody but us asks for.
    static PROBE: &CStr = c"privns: no such library";
    /// It has come by.
    static SEEN: AtomicBool = AtomicBool::new(false);
    /// What stood in the place of [`opens`].
    static LOADERS: AtomicUsize = AtomicUsize::new(0);
    /// Where libc's code begins and ends.
    static LIBC: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

    type Ask = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

    #[cold]
    pub(super) fn stand() {
        let (Some(libc), Some(loader)) = (Object::of_libc(), Object::of_loader()) else { return };
        let Some((at, len)) = loader.data(b"_rtld_global_ro") else { return };
        let (from, end) = libc.code();
        LIBC[0].store(from, Ordering::Relaxed);
        LIBC[1].store(end, Ordering::Relaxed);
        let (from, end) = (at & !(PAGE - 1), (at + len).next_multiple_of(PAGE));
        let both = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the loader's own data, which it has made read-only; there is one
        // thread.
        unsafe {
            if sys!(libc::SYS_mprotect, from, end - from, both).is_ok() {
                match told_place(&loader, (at, len)) {
                    Some(word) => {
                        LOADERS.store(word.read_volatile(), Ordering::Relaxed);
                        SEEN.store(true, Ordering::Relaxed);
                        word.write_volatile(opens as *const () as usize);
                    }
                    None => find_place(&libc, &loader, (at, len)),
                }
                let _ = sys!(libc::SYS_mprotect, from, end - from, libc::PROT_READ);
            }
        }
    }

    /// The words of the loader's data.
    fn words((at, len): (usize, usize)) -> impl Iterator<Item = *mut usize> {
        (at..at + (len & !7)).step_by(8).map(|at| at as *mut usize)
    }

    /// The word that its neighbours tell of: the second after that of one function,
    /// and the address right behind another, whose source is the same file.
    ///
    /// # Safety
    /// The words may be read.
    unsafe fn told_place(loader: &Object, data: (usize, usize)) -> Option<*mut usize> {
        const BEFORE: &[u8] = b"_dl_find_dso_for_object";
        /// What compilers leave free between two functions, at most.
        const GAP: usize = 64;
        let count = loader.address(b"_dl_mcount")?;
        let end = loader.address(BEFORE)? + loader.function(BEFORE)?.1 as usize;
        // SAFETY: the caller's promise.
        unsafe {
            let found = words(data).skip_while(|word| word.read_volatile() != count).nth(2)?;
            (end..end + GAP).contains(&found.read_volatile()).then_some(found)
        }
    }

    /// Tries the words of the loader's data.
    ///
    /// # Safety
    /// They may be written, and nobody else reads them now.
    unsafe fn find_place(libc: &Object, loader: &Object, data: (usize, usize)) {
        // The dlopen of older ones is another library's, perhaps of none that is
        // loaded.
        let ask = libc.address(b"dlopen").or_else(|| libc.address(b"__libc_dlopen_mode"));
        let Some(ask) = ask else { return };
        // SAFETY: both have this type.
        let ask: Ask = unsafe { core::mem::transmute(ask) };
        let (from, end) = loader.code();
        for word in words(data) {
            // SAFETY: the caller's promise; a function's address becomes that of one
            // that goes on to it.
            unsafe {
                let was = word.read_volatile();
                if !(from..end).contains(&was) {
                    continue;
                }
                LOADERS.store(was, Ordering::Relaxed);
                word.write_volatile(opens as *const () as usize);
                ask(PROBE.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
                if SEEN.load(Ordering::Relaxed) {
                    return;
                }
                word.write_volatile(was);
            }
        }
    }

    /// The loader's own function takes the name, a mode and who asks first, and
    /// goes on where the stack is: so this jumps to it.
    #[unsafe(naked)]
    unsafe extern "C" fn opens() {
        naked_asm!(
            "endbr64",
            "push rax",
            "push rdi",
            "push rsi",
            "push rdx",
            "push rcx",
            "push r8",
            "push r9",
            "mov rsi, rdx",
            "call {find}",
            "mov r11, rdx",
            "pop r9",
            "pop r8",
            "pop rcx",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            "mov rdi, rax",
            "pop rax",
            "jmp r11",
            find = sym find,
        );
    }

    /// The name to give the loader. Others than libc come by dlopen, which has
    /// found theirs.
    unsafe extern "C" fn find(name: *const c_char, caller: *const c_void) -> Jump {
        let [from, end] = [&LIBC[0], &LIBC[1]].map(|at| at.load(Ordering::Relaxed));
        let to = LOADERS.load(Ordering::Relaxed);
        if name == PROBE.as_ptr() {
            SEEN.store(true, Ordering::Relaxed);
        } else if (from..end).contains(&(caller as usize)) && SEEN.load(Ordering::Relaxed) {
            // SAFETY: libc's own argument.
            return Jump { name: unsafe { located(name, caller) }, to };
        }
        Jump { name, to }
    }
}
