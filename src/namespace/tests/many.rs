//! Five thousand mounts are built in time, and are built again from what is
//! printed of them.

use privns_namespace::build::{Builder, Instance, Places};
use privns_namespace::file::{Environment, parse};
use privns_namespace::poly::Rule;
use privns_namespace::{Failure, Server, Table, print};
use std::fmt::Write;
use std::time::{Duration, Instant};

struct None;

impl Environment for None {
    fn variable(&self, _: &[u8]) -> Option<Vec<u8>> {
        Option::None
    }
    fn read(&self, _: &[u8]) -> privns_abi::Result<Vec<u8>> {
        Err(privns_abi::Errno::ENOENT)
    }
}

impl Places for None {
    fn dir(&mut self, _: &[u8], number: u32) -> Result<Vec<u8>, Failure> {
        Ok(format!("/skeleton/{number}").into_bytes())
    }
    fn symlink(&mut self, at: &[u8], number: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
        self.dir(at, number)
    }
    fn instance(&mut self, _: &[u8], _: &[u8]) -> Result<Instance, Failure> {
        unreachable!("no line asks for an instance")
    }
    fn by_rule(&mut self, _: &[u8], _: Option<&[u8]>, _: &Rule) -> Result<Instance, Failure> {
        unreachable!("no line has a rule")
    }
    fn server(&mut self, _: &[u8], _: &mut Server) -> Result<(), Failure> {
        unreachable!("no line mounts a server")
    }
}

fn build(text: &str) -> Table {
    let host = privns_host::fake::Tree::new(&["/s/f", "/d/"]);
    let lines = parse(b"f", text.as_bytes(), &None).unwrap();
    let mut places = None;
    let builder = Builder::new(&host, &mut places, &Table::new(), b"/");
    builder.run(&lines).unwrap().table
}

#[test]
fn five_thousand_mounts() {
    let mut text = String::new();
    for i in 0..5000 {
        writeln!(text, "bind /s /d/number{i:04}").unwrap();
    }
    let begin = Instant::now();
    let table = build(&text);
    let built = begin.elapsed();
    let host = privns_host::fake::Tree::new(&["/s/f", "/d/"]);
    let printed = print::to_text(&print(&host, &table, Option::None));
    eprintln!("built in {built:?}, printed in {:?}", begin.elapsed() - built);
    assert_eq!(String::from_utf8(printed).unwrap(), text);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}
