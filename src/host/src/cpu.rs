//! What this processor can do, as far as the loader chooses libraries by it
//! (ld.so(8), "glibc-hwcaps").

/// The directories of `glibc-hwcaps` that are for this processor, the best first.
#[must_use]
pub fn levels() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    return x86_64::levels();
    #[cfg(not(target_arch = "x86_64"))]
    &[]
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// As the psABI of x86-64 has them.
    const ALL: &[&str] = &["x86-64-v4", "x86-64-v3", "x86-64-v2"];

    /// CMPXCHG16B, POPCNT, SSE3, SSE4.1, SSE4.2, SSSE3: leaf 1, ECX.
    const V2: u32 = 1 << 13 | 1 << 23 | 1 | 1 << 19 | 1 << 20 | 1 << 9;
    /// LAHF and SAHF: leaf 0x80000001, ECX.
    const V2_MORE: u32 = 1;
    /// AVX, F16C, FMA, MOVBE, OSXSAVE: leaf 1, ECX.
    const V3: u32 = 1 << 28 | 1 << 29 | 1 << 12 | 1 << 22 | 1 << 27;
    /// LZCNT: leaf 0x80000001, ECX.
    const V3_MORE: u32 = 1 << 5;
    /// AVX2, BMI1, BMI2: leaf 7, EBX.
    const V3_LATER: u32 = 1 << 5 | 1 << 3 | 1 << 8;
    /// AVX512F, BW, CD, DQ, VL: leaf 7, EBX.
    const V4_LATER: u32 = 1 << 16 | 1 << 30 | 1 << 28 | 1 << 17 | 1 << 31;

    /// Registers that the system keeps (XCR0): of SSE and AVX, of AVX-512.
    const AVX: u32 = 6;
    const AVX512: u32 = 0xe0;

    pub(super) fn levels() -> &'static [&'static str] {
        /// One more than [`missing`]; 0: not asked yet. A hypervisor takes its time
        /// to answer.
        static KNOWN: AtomicUsize = AtomicUsize::new(0);
        if KNOWN.load(Relaxed) == 0 {
            KNOWN.store(1 + missing(), Relaxed);
        }
        ALL.get(KNOWN.load(Relaxed) - 1..).unwrap_or_default()
    }

    /// How many of the levels, the best first, this processor has not.
    fn missing() -> usize {
        let most = __cpuid(0).eax;
        let (first, more) = (__cpuid(1).ecx, __cpuid(0x8000_0001).ecx);
        let later = if most < 7 { 0 } else { __cpuid_count(7, 0).ebx };
        let kept = if first & 1 << 27 == 0 { 0 } else { kept() };
        let has = |have: u32, want: u32| have & want == want;
        let v2 = has(first, V2) && has(more, V2_MORE);
        let v3 =
            v2 && has(first, V3) && has(more, V3_MORE) && has(later, V3_LATER) && has(kept, AVX);
        let v4 = v3 && has(later, V4_LATER) && has(kept, AVX512);
        [v4, v3, v2].iter().filter(|has| !**has).count()
    }

    /// XCR0.
    fn kept() -> u32 {
        let low: u32;
        // SAFETY: OSXSAVE says that the instruction may be used; it reads a
        // register.
        unsafe {
            core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _,
                options(nomem, nostack, preserves_flags));
        }
        low
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_levels_are_those_that_the_loader_finds() {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        let out = std::process::Command::new(loader).arg("--help").output().expect("run it");
        let said = std::string::String::from_utf8_lossy(&out.stdout).into_owned();
        let found =
            said.lines().filter(|line| line.contains("x86-64-v") && line.contains("supported"));
        let found: std::vec::Vec<&str> =
            found.filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(super::levels(), &found[..]);
    }
}
