//! Functions of libc's that are looked up at their first call.
//!
//! rustc reaches what lies in another library through an address that the
//! loader fills in as soon as it loads us: at every exec, for what few
//! processes ever call, and where the function depends on the machine, by
//! running code of libc's. A jump through the linkage table leaves it to the
//! first call, and takes no lock then. What every name needs (time(2), memcpy)
//! is not called so: those jumps can be measured.

/// `lazily! { fn name(arg: type, …) -> type; … }`: the functions of those
/// names that libc exports.
#[macro_export]
macro_rules! lazily {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As its manual page says.
        #[unsafe(naked)]
        $vis unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(concat!("jmp ", stringify!($name), "@PLT"));
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(concat!("b ", stringify!($name)));
        }
    )*};
}

lazily! {
    /// clock_gettime(2), by the vDSO.
    pub fn clock_gettime(clock: libc::clockid_t, ts: *mut libc::timespec) -> libc::c_int;
}
