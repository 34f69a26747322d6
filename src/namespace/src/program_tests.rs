//! Headers of real programs and made ones, whole and damaged.

use super::elf::{PT_DYNAMIC, PT_INTERP, PT_NOTE};
use super::*;
use std::vec::Vec;

fn parse(bytes: &[u8]) -> Header {
    let read = |at: u64, out: &mut [u8]| {
        let from = bytes.get(at as usize..).unwrap_or_default();
        let n = from.len().min(out.len());
        out[..n].copy_from_slice(&from[..n]);
        Ok(n)
    };
    Header::read(&read).unwrap()
}

#[test]
fn our_own_program_can_be_served() {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let Header::Elf(elf) = parse(&own) else { panic!("no ELF") };
    assert_eq!(elf.unserved(b"/x"), None);
    assert_eq!((elf.bits, elf.machine), (64, MACHINE));
    assert!(elf.sanitizer().is_none());
}

#[test]
fn the_libraries_that_are_needed_are_listed() {
    let own = Kernel.openat(libc::AT_FDCWD, c"/proc/self/exe", libc::O_RDONLY, 0).unwrap();
    let mut names = Vec::new();
    let elf = links(own, &mut |link| {
        if let Link::Needed(name) = link {
            names.push(name.to_vec());
        }
    });
    assert_eq!(elf, Ok(true));
    Kernel.close(own).unwrap();
    assert!(names.iter().any(|name| name.starts_with(b"libc.so")), "{names:?}");
}

#[test]
fn what_cannot_be_served_is_said() {
    let mut elf = Elf {
        bits: 64,
        machine: MACHINE,
        loader: None,
        paths: None,
        sanitizer: None,
        needs_places: false,
        is_go: false,
    };
    assert_eq!(elf.unserved(b"/bin/x"), Some("it is statically linked"));
    assert_eq!(elf.unserved(b"/lib64/ld-linux-x86-64.so.2"), None);
    assert_eq!(elf.unserved(b"/opt/privns/bin/ns-exec"), None);
    elf.loader = Some(Text::new(b"/lib/ld-musl-x86_64.so.1"));
    assert_eq!(elf.unserved(b"/bin/x"), Some("it uses another C library"));
    elf.is_go = true;
    assert_eq!(elf.unserved(b"/bin/x"), Some("it is a Go program, which passes libc by"));
    elf.machine = 3;
    assert_eq!(elf.unserved(b"/bin/x"), Some("it is for another architecture"));
    elf.bits = 32;
    assert_eq!(elf.unserved(b"/bin/x"), Some("it is a 32-bit program"));
}

/// A program with a loader and one note, whose owner is given.
fn noted(owner: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(&mut file, 18, &MACHINE.to_le_bytes());
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &[56, 0, 2, 0]);
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    put(&mut file, 200, loader);
    put(&mut file, 300, &4u32.to_le_bytes());
    put(&mut file, 304, &20u32.to_le_bytes());
    put(&mut file, 312, b"GNU\0");
    put(&mut file, 336, &(owner.len() as u32).to_le_bytes());
    put(&mut file, 340, &8u32.to_le_bytes());
    put(&mut file, 348, owner);
    let segments = [(PT_INTERP, 200u64, loader.len() as u64), (PT_NOTE, 300, 60)];
    for (n, (kind, at, len)) in segments.into_iter().enumerate() {
        put(&mut file, 64 + n * 56, &kind.to_le_bytes());
        put(&mut file, 64 + n * 56 + 8, &at.to_le_bytes());
        put(&mut file, 64 + n * 56 + 32, &len.to_le_bytes());
    }
    file
}

#[test]
fn a_go_program_is_known_by_its_note() {
    let why = |owner: &[u8]| match parse(&noted(owner)) {
        Header::Elf(elf) => elf.unserved(b"/bin/x"),
        _ => Some("no ELF"),
    };
    assert_eq!(why(b"Go\0\0"), Some("it is a Go program, which passes libc by"));
    assert_eq!(why(b"GNU\0"), None);
}

#[test]
fn a_script_names_its_interpreter_and_one_argument() {
    let line = |bytes: &[u8]| match parse(bytes) {
        Header::Script(s) => Some((s.interpreter().to_vec(), s.argument().map(<[u8]>::to_vec))),
        _ => None,
    };
    let script = |i: &str, a: Option<&str>| Some((i.into(), a.map(Into::into)));
    assert_eq!(line(b"#! /bin/sh\nx"), script("/bin/sh", None));
    assert_eq!(line(b"#!/bin/sh"), script("/bin/sh", None));
    assert_eq!(line(b"#!/usr/bin/env -S a b \n"), script("/usr/bin/env", Some("-S a b")));
    // Only blanks are trimmed: a carriage return belongs to the name.
    assert_eq!(line(b"#!/bin/sh\r\n"), script("/bin/sh\r", None));
    assert_eq!(line(b"#!\n"), None);
    assert_eq!(line(b"#!  \t\n/bin/sh"), None);
    assert_eq!(line(b"echo"), None);
    let mut long: Vec<u8> = b"#!/".to_vec();
    long.resize(300, b'x');
    assert_eq!(line(&long), None);
    long[200] = b' ';
    assert_eq!(line(&long).unwrap().0.len(), 198);
}

#[test]
fn any_damage_is_only_another_answer() {
    let own = std::fs::read("/proc/self/exe").unwrap();
    for at in 0..900 {
        for value in [0, 0x7f, 0xff] {
            let mut bad = own[..4096].to_vec();
            bad[at] = value;
            let _ = parse(&bad);
        }
        let _ = parse(&own[..at]);
    }
}

#[test]
fn damage_to_what_is_linked_is_only_another_answer() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    let own = std::fs::read("/proc/self/exe").unwrap();
    let name = std::format!("/tmp/privns-links-{}", std::process::id());
    let mut new = std::fs::OpenOptions::new();
    let file = new.read(true).write(true).create_new(true).open(&name).unwrap();
    std::fs::remove_file(&name).unwrap();
    let fd = file.as_raw_fd();
    file.write_all_at(&own, 0).unwrap();
    let mut found = 0;
    assert_eq!(links(fd, &mut |_| found += 1), Ok(true));
    assert!(found > 0);
    // The headers, and the dynamic section that they tell of.
    let headers = u64::from_le_bytes(own[32..40].try_into().unwrap()) as usize;
    let number = |at: usize| u64::from_le_bytes(own[at..at + 8].try_into().unwrap()) as usize;
    let dynamic = (0..usize::from(own[56])).map(|n| headers + n * 56);
    let dynamic = dynamic.into_iter().find(|&at| own[at] == PT_DYNAMIC as u8).unwrap();
    let section = number(dynamic + 8);
    for at in (0..64).chain(headers..headers + 900).chain(section..section + 480) {
        for value in [0, 1, 0x7f, 0xff] {
            file.write_all_at(&[value], at as u64).unwrap();
            let _ = links(fd, &mut |_| {});
        }
        file.write_all_at(&own[at..=at], at as u64).unwrap();
    }
    for len in [0, 3, 63, 64, headers + 40, section + 8, section + 100] {
        file.set_len(len as u64).unwrap();
        let _ = links(fd, &mut |_| {});
    }
}
