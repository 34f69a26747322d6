//! What a program needs by a name with a slash in it the loader opens before
//! anything of ours runs, and so it does what a `DT_RPATH` names. It is told of
//! other files by a module that watches it (rtld-audit(7)): some code, and the list
//! that [`privns_files::libraries`] has made for that one program. It needs no
//! library, so that the loader loads no second libc for it. It lies on the shelf,
//! since debuggers open it by the name that the loader has for it.

use privns_abi::{Errno, Result};

/// A module with the list of a program's
/// [`privns_files::libraries::Libraries`].
///
/// # Errors
/// ENOSYS where we have no code for the machine; ENOMEM.
pub(crate) fn module(instead: &[u8]) -> Result<Vec<u8>> {
    let image = image()?;
    let (code, len) = (image.code_at, image.code.len() + instead.len() + 1);
    let mut module = Vec::new();
    module.try_reserve_exact(code + len).map_err(|_| Errno::ENOMEM)?;
    module.extend_from_slice(image.head);
    for at in image.sizes {
        module[at..at + 8].copy_from_slice(&len.to_ne_bytes());
    }
    module.resize(code, 0);
    module.extend_from_slice(image.code);
    module.extend_from_slice(instead);
    // An entry of no kind is the last.
    module.push(0);
    Ok(module)
}

/// The module without its list.
struct Image {
    /// What stands at its beginning: the headers, and what the loader writes to.
    head: &'static [u8],
    /// Where in it the length of code and list belongs.
    sizes: [usize; 2],
    code: &'static [u8],
    /// Where in the file code and list stand.
    code_at: usize,
}

#[cfg(not(target_arch = "x86_64"))]
fn image() -> Result<Image> {
    Err(Errno::ENOSYS)
}

#[cfg(target_arch = "x86_64")]
fn image() -> Result<Image> {
    unsafe extern "C" {
        static privns_watch_head: u8;
        static privns_watch_head_end: u8;
        static privns_watch_code: u8;
        static privns_watch_code_end: u8;
    }
    // SAFETY: from one label below to the next.
    let (head, code) = unsafe {
        let bytes = |from: *const u8, to: *const u8| {
            core::slice::from_raw_parts(from, to as usize - from as usize)
        };
        (
            bytes(&raw const privns_watch_head, &raw const privns_watch_head_end),
            bytes(&raw const privns_watch_code, &raw const privns_watch_code_end),
        )
    };
    // The two sizes of the second program header.
    let second = 64 + 56;
    Ok(Image { head, sizes: [second + 32, second + 40], code, code_at: 0x1000 })
}

// An ELF file by hand (gABI). The dynamic section is in a segment of its own
// that can be written: older loaders relocate it in place.
//
// la_objsearch(3) compares the name that the loader is about to open with those
// of the list, la_objopen gives a library the name that it is needed by, as the
// loader would have.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    r#"
    .pushsection .rodata.privns_watch, "a", @progbits
    .globl privns_watch_head, privns_watch_head_end, privns_watch_code, privns_watch_code_end
    .hidden privns_watch_head, privns_watch_head_end, privns_watch_code, privns_watch_code_end
    .balign 8
privns_watch_head:
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .short 3, 62                    /* ET_DYN, EM_X86_64 */
    .long 1
    .quad 0, 64, 0
    .long 0
    .short 64, 56, 4, 64, 0, 0
    .long 1, 6                      /* PT_LOAD, read and written */
    .quad 0, 0, 0
    .quad 3f - privns_watch_head, 3f - privns_watch_head, 0x1000
    .long 1, 5                      /* PT_LOAD, run: with the list */
    .quad 0x1000, 0x1000, 0x1000, 0, 0, 0x1000
    .long 2, 6                      /* PT_DYNAMIC */
    .quad 2f - privns_watch_head, 2f - privns_watch_head, 2f - privns_watch_head
    .quad 3f - 2f, 3f - 2f, 8
    .long 0x6474e551, 6             /* PT_GNU_STACK: nothing is run on it */
    .quad 0, 0, 0, 0, 0, 16
2:
    .quad 4, 0x1000 + 20f - privns_watch_code       /* DT_HASH */
    .quad 5, 0x1000 + 22f - privns_watch_code       /* DT_STRTAB */
    .quad 6, 0x1000 + 21f - privns_watch_code       /* DT_SYMTAB */
    .quad 10, 23f - 22f             /* DT_STRSZ */
    .quad 11, 24                    /* DT_SYMENT */
    .quad 0, 0
3:
privns_watch_head_end:

    .balign 8
privns_watch_code:
20:
    .long 1, 4                      /* one bucket, four symbols */
    .long 1                         /* it begins with the first */
    .long 0, 2, 3, 0
    .long 0
21:
    .quad 0, 0, 0
    .long 1
    .byte 0x12, 0
    .short 1
    .quad 0x1000 + 30f - privns_watch_code, 31f - 30f
    .long 25f - 22f
    .byte 0x12, 0
    .short 1
    .quad 0x1000 + 31f - privns_watch_code, 32f - 31f
    .long 26f - 22f
    .byte 0x12, 0
    .short 1
    .quad 0x1000 + 32f - privns_watch_code, 33f - 32f
22:
    .asciz ""
    .asciz "la_version"
25:
    .asciz "la_objsearch"
26:
    .asciz "la_objopen"
23:

30: /* unsigned la_version(unsigned version): whatever the loader has */
    endbr64
    mov eax, edi
    ret

31: /* char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag) */
    endbr64
    mov rax, rdi
    lea rsi, [rip + 33f]
40:
    cmp byte ptr [rsi], 0
    je 47f
    inc rsi
    xor ecx, ecx
41:
    mov dl, [rdi + rcx]
    cmp dl, [rsi + rcx]
    jne 43f
    inc rcx
    test dl, dl
    jne 41b
    add rsi, rcx                    /* the same: what is to be opened, if anything */
    xor eax, eax
    cmp byte ptr [rsi], 0
    cmovne rax, rsi
    ret
43:
    inc rsi
    cmp byte ptr [rsi - 1], 0
    jne 43b
44:
    inc rsi
    cmp byte ptr [rsi - 1], 0
    jne 44b
    jmp 40b
47:
    ret

32: /* unsigned la_objopen(struct link_map *library, Lmid_t list, uintptr_t *cookie) */
    endbr64
    mov r8, [rdi + 8]
    test r8, r8
    je 57f
    lea rsi, [rip + 33f]
50:
    movzx eax, byte ptr [rsi]
    test al, al
    je 57f
    inc rsi
    mov r9, rsi
51:
    inc rsi
    cmp byte ptr [rsi - 1], 0
    jne 51b
    xor ecx, ecx
52:
    mov dl, [r8 + rcx]
    cmp dl, [rsi + rcx]
    jne 54f
    inc rcx
    test dl, dl
    jne 52b
    add rsi, rcx
    cmp al, 'n'
    jne 50b
    mov [rdi + 8], r9
    jmp 57f
54:
    inc rsi
    cmp byte ptr [rsi - 1], 0
    jne 54b
    jmp 50b
57:
    xor eax, eax
    ret
33:
privns_watch_code_end:
    .popsection
    "#
);
