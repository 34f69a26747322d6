//! What a program hands to the next over exec: the library's place in
//! LD_PRELOAD, the family's table, and what the host cannot tell about the
//! working directory and the open files. An environment that has all of this
//! is passed on untouched.

mod told;

pub(crate) use told::{item_fd, items, program, stays, take};

use told::{ours, Short};

use crate::loaded::{self, Loaded};
use crate::start::Environment;
use crate::strings::{begins, Block, Next};
use core::ffi::{c_char, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::{Kernel, Name};
use privns_namespace::carried::{self, Carried};
use privns_namespace::program::preloaded;

/// What does not change while the process lives.
pub(crate) struct Settings {
    /// The library's file, as the loader was given it.
    library: Name,
    /// Variables of ours that were in the environment, whole and with a NUL:
    /// put back where they are missing.
    kept: Vec<Name>,
    /// Where long images of the table are kept.
    images: Result<Name>,
}

static SETTINGS: AtomicPtr<Settings> = AtomicPtr::new(core::ptr::null_mut());

const VARIABLES: &[&[u8]] = &[b"PRIVNS_NAMES", b"PRIVNS_INTERCEPT", b"PRIVNS_TRACE", b"PRIVNS_LOG"];
pub(crate) const PRELOAD: &[u8] = b"LD_PRELOAD=";
pub(crate) const OURS: &[u8] = b"PRIVNS=";
const IMAGE: &[u8] = b"PRIVNS_IMAGE=";
/// The open remote files that the next program inherits.
const FILES: &[u8] = b"PRIVNS_FILES=";
pub(crate) const LIBRARIES: &[u8] = b"LD_LIBRARY_PATH=";
pub(crate) const AUDIT: &[u8] = b"LD_AUDIT=";
/// Where iconv(3) finds modules before its own.
pub(crate) const MODULES: &[u8] = b"GCONV_PATH=";
/// What the loader is told in place of the program, and where the program's own
/// is kept meanwhile: the variable whole, or nothing. [`show_own`] puts it back.
const OWN: [(&[u8], &[u8]); 3] =
    [(LIBRARIES, b"PRIVNS_LIBRARIES="), (AUDIT, b"PRIVNS_AUDIT="), (PRELOAD, b"PRIVNS_PRELOAD=")];

impl Settings {
    pub(crate) fn get() -> Option<&'static Settings> {
        // SAFETY: null, or a box that was leaked into it.
        unsafe { SETTINGS.load(Ordering::Acquire).as_ref() }
    }

    /// Notes them, in the constructor.
    pub(crate) fn learn(env: &Environment) -> Result<()> {
        let value = |name| env.get(name).map(CStr::to_bytes);
        let images = carried::directory(value(b"XDG_CACHE_HOME"), value(b"HOME"));
        let mut settings = Settings { library: library()?, kept: Vec::new(), images };
        for name in VARIABLES {
            let Some(value) = env.get(name) else { continue };
            let mut whole = Name::from(name)?;
            whole.push(b"=")?;
            whole.push(value.to_bytes())?;
            settings.kept.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            settings.kept.push(whole);
        }
        let settings = Box::into_raw(Box::new(settings));
        SETTINGS.store(settings, Ordering::Release);
        Ok(())
    }
}

/// The library's own file: absolute, since the next program may be started
/// from another directory.
pub(crate) fn library() -> Result<Name> {
    let file = loaded::find(Loaded::is_us).ok_or(Errno::ENOENT)?.file();
    let mut name = Name::new();
    if file.first() != Some(&b'/') {
        Kernel.getcwd(&mut name)?;
        name.push(b"/")?;
    }
    name.push(file)?;
    Ok(name)
}

/// How the next program is to be started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// The member that serves its file.
    pub(crate) exe: u32,
    /// A sanitizer's runtime, which must come first in LD_PRELOAD.
    pub(crate) first: Option<&'a [u8]>,
    /// The host name of its file, where the kernel is given the loader's.
    pub(crate) program: Option<&'a [u8]>,
    /// The name that it is called by, where the kernel sees another.
    pub(crate) command: Option<&'a [u8]>,
    /// Where its libraries are searched for first.
    pub(crate) libraries: Option<&'a [u8]>,
    /// What is to watch the loader in place of what LD_AUDIT names.
    pub(crate) audit: Option<&'a [u8]>,
    /// What is to be loaded before them in place of what LD_PRELOAD names.
    pub(crate) preload: Option<&'a [u8]>,
    /// The open remote files that it inherits.
    pub(crate) files: Option<&'a [u8]>,
    /// What libc loads by itself may not be where the host has it.
    pub(crate) modules: bool,
}

/// The environment that exec is to be given in place of `env`.
///
/// # Errors
/// ENOMEM.
///
/// # Safety
/// `env` is null or an array of C strings that ends with null.
pub(crate) unsafe fn environment(
    view: View<'_>,
    env: *const *const c_char,
    wanted: Wanted<'_>,
) -> Result<Next> {
    let untouched = Next::given(env);
    let Some(settings) = Settings::get() else { return Ok(untouched) };
    let mut ours = ours(view, &wanted, view.family.generation())?;
    let mut seen = Seen::default();
    // SAFETY: the caller's.
    for at in unsafe { pointers(env) } {
        seen.all += 1;
        // SAFETY: C strings, the caller says.
        let text = unsafe {
            let ours = begins(at, b"LD_") || begins(at, b"PRIVNS");
            ours.then(|| CStr::from_ptr(at).to_bytes())
        };
        if let Some(text) = text {
            seen.look(text, settings, &ours, wanted.first);
        }
    }
    let lists = [wanted.libraries, wanted.audit];
    let told = lists.iter().any(Option::is_some) || wanted.preload.is_some();
    if seen.is_right(settings) && !told && wanted.files.is_none() {
        return Ok(untouched);
    }
    let image = if seen.has_image() { None } else { Some(image(view, settings)?) };
    if let Some(image) = &image {
        ours = self::ours(view, &wanted, image.generation)?;
    }
    // SAFETY: the caller's.
    let given = || unsafe { strings(env) };
    let Seen { all, preload, found, .. } = seen;
    let words = all + 10 + settings.kept.len();
    let kept_len: usize = settings.kept.iter().map(|k| k.as_bytes().len() + 1).sum();
    let first = wanted.first.map_or(0, <[u8]>::len);
    let bytes = PRELOAD.len()
        + preload.len()
        + first
        + settings.library.as_bytes().len()
        + 4
        + ours.as_bytes().len()
        + 1
        + kept_len
        + image.as_ref().map_or(0, |image| IMAGE.len() + image.value.len() + 1)
        + wanted.files.map_or(0, |files| FILES.len() + files.len() + 1);
    let replaced = || lists.iter().zip(OWN).filter_map(|(list, names)| Some(((*list)?, names)));
    let own = |name: &[u8]| given().find(|text| text.starts_with(name)).unwrap_or_default();
    let told = |(list, (name, kept)): (&[u8], (&[u8], &[u8]))| {
        list.len() + name.len() + kept.len() + own(name).len() + 2
    };
    let told: usize = replaced().map(told).sum();
    // The program's own twice: as it is, and with what the loader is told.
    let preloads = wanted.preload.map_or(0, |p| p.len() + OWN[2].1.len() + bytes);
    let mut block = Block::new(words, bytes + told + preloads)?;
    for (list, (name, kept)) in replaced() {
        block.text(&[name, list]);
        block.text(&[kept, own(name)]);
    }
    for text in given() {
        let replaced = replaced().any(|(_, (name, _))| text.starts_with(name));
        let replaced = replaced || image.is_some() && text.starts_with(IMAGE);
        let replaced = replaced || text.starts_with(FILES);
        if !replaced && !text.starts_with(PRELOAD) && !text.starts_with(OURS) {
            block.word(text.as_ptr().cast());
        }
    }
    block.text(&[ours.as_bytes()]);
    if let Some(files) = wanted.files {
        block.text(&[FILES, files]);
    }
    if let Some(image) = &image {
        block.text(&[IMAGE, &image.value]);
    }
    for (at, kept) in settings.kept.iter().enumerate() {
        if found >> at & 1 == 0 {
            block.text(&[kept.as_bytes()]);
        }
    }
    let library = settings.library.as_bytes();
    if wanted.preload.is_some() {
        block.begin(OWN[2].1);
        add_preload(&mut block, preload, library, wanted.first);
    }
    block.begin(b"");
    add_preload(&mut block, wanted.preload.unwrap_or(preload), library, wanted.first);
    Ok(block.finish())
}

/// The image of the table, for what is run on another machine from here.
fn image(view: View<'_>, settings: &Settings) -> Result<Carried> {
    carried::carried(view.family, &settings.images)
}

/// What an environment has of ours.
#[derive(Default)]
struct Seen<'a> {
    all: usize,
    /// The loader uses the last that it finds.
    preload: &'a [u8],
    preloads: usize,
    tables: usize,
    images: usize,
    /// Files are told of that are no longer what they were.
    files: bool,
    /// The table is another, or at another generation than the image is of.
    other: bool,
    wrong: bool,
    /// Which of [`Settings::kept`] are there, a bit each.
    found: u32,
}

impl<'a> Seen<'a> {
    fn look(&mut self, text: &'a [u8], settings: &Settings, ours: &Short, first: Option<&[u8]>) {
        if let Some(value) = text.strip_prefix(PRELOAD) {
            self.preload = value;
            self.preloads += 1;
            self.wrong |= !is_right(value, settings.library.as_bytes(), first);
        } else if text.starts_with(OURS) {
            self.tables += 1;
            self.wrong |= text != ours.as_bytes();
            self.other |= !ours.is_alike(text);
        } else if text.starts_with(FILES) {
            self.files = true;
        } else if text.starts_with(IMAGE) {
            self.images += 1;
        } else if text.starts_with(b"PRIVNS_") {
            let kept = settings.kept.iter().position(|k| same_variable(k.as_bytes(), text));
            self.found |= kept.map_or(0, |at| 1 << at);
        }
    }

    /// Whether the image is that of the table as it is now.
    fn has_image(&self) -> bool {
        self.images == 1 && self.tables == 1 && !self.other
    }

    fn is_right(&self, settings: &Settings) -> bool {
        let once = self.preloads == 1 && self.has_image();
        once && !self.wrong
            && !self.files
            && self.found.count_ones() as usize == settings.kept.len()
    }
}

fn same_variable(a: &[u8], b: &[u8]) -> bool {
    let name = |text: &[u8]| text.iter().position(|b| *b == b'=');
    name(a) == name(b) && name(a).is_some_and(|end| a.get(..end) == b.get(..end))
}

/// Where the strings of an environment are.
///
/// # Safety
/// As [`environment`].
unsafe fn pointers(mut at: *const *const c_char) -> impl Iterator<Item = *const c_char> {
    core::iter::from_fn(move || {
        // SAFETY: not beyond the null at the end.
        unsafe {
            let text = if at.is_null() { at.cast() } else { *at };
            at = at.wrapping_add(1);
            (!text.is_null()).then_some(text)
        }
    })
}

/// The strings of an environment.
///
/// # Safety
/// As [`environment`].
unsafe fn strings<'a>(env: *const *const c_char) -> impl Iterator<Item = &'a [u8]> {
    // SAFETY: the caller's.
    unsafe { pointers(env).map(|at| CStr::from_ptr(at).to_bytes()) }
}

/// The value of the first variable that begins with `name`, `=` included.
///
/// # Safety
/// As [`environment`].
pub(crate) unsafe fn variable<'a>(env: *const *const c_char, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    unsafe {
        let at = pointers(env).find(|at| begins(*at, name))?;
        Some(CStr::from_ptr(at.add(name.len())).to_bytes())
    }
}

/// Takes over the remote files that the last program has handed on. The
/// program itself does not see that: it could tell others of files that are
/// not there any more.
///
/// # Safety
/// As [`show_own`].
pub(crate) unsafe fn take_files(view: View<'_>, env: *const *const c_char) {
    // SAFETY: the caller's.
    let Some(files) = (unsafe { variable(env, FILES) }) else { return };
    view.take_over(files);
    let mut to = env.cast_mut();
    // SAFETY: what is written never overtakes what is read.
    unsafe {
        for text in strings(env).filter(|text| !text.starts_with(FILES)) {
            *to = text.as_ptr().cast();
            to = to.add(1);
        }
        *to = core::ptr::null();
    }
}

/// Gives the program the LD_LIBRARY_PATH, LD_AUDIT and LD_PRELOAD that it was started
/// with: the loader has read ours by now.
///
/// # Safety
/// `env` is the process's own environment, which nobody has seen yet.
pub(crate) unsafe fn show_own(env: *const *const c_char) {
    for (name, kept) in OWN {
        // SAFETY: the caller's.
        if let Some(own) = unsafe { variable(env, kept) } {
            // SAFETY: as above.
            unsafe { show(env, name, kept, own) };
        }
    }
}

/// Puts `own` in the place of a variable, and takes the one away in which it was
/// kept.
///
/// # Safety
/// As [`show_own`].
#[cold]
unsafe fn show(env: *const *const c_char, name: &[u8], kept: &[u8], own: &[u8]) {
    let mut to = env.cast_mut();
    // SAFETY: what is written never overtakes what is read.
    unsafe {
        for text in strings(env) {
            if text.starts_with(kept) || own.is_empty() && text.starts_with(name) {
                continue;
            }
            let text = if text.starts_with(name) { own } else { text };
            *to = text.as_ptr().cast();
            to = to.add(1);
        }
        *to = core::ptr::null();
    }
}

/// Leaves another user's family alone, here and in what is run from here: the
/// person has been told once.
///
/// # Safety
/// As [`show_own`].
pub(crate) unsafe fn decline(env: *const *const c_char) {
    let mut at = env.cast_mut();
    // SAFETY: the caller's; not beyond the null at the end.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if text.starts_with(OURS) && text.len() > OURS.len() {
                // In place: a shell writes to the strings that it was given.
                let value = (*at).cast_mut().add(OURS.len());
                value.write(b'-' as c_char);
                value.add(1).write(0);
            }
            at = at.add(1);
        }
    }
}

/// Whether the library is there once and last, and a sanitizer before all.
fn is_right(value: &[u8], library: &[u8], first: Option<&[u8]>) -> bool {
    let names = || preloaded(value);
    names().next().filter(|name| is_sanitizer(name)) == first
        && names().filter(|name| *name == library).count() == 1
        && names().last() == Some(library)
}

/// Adds LD_PRELOAD with the library last.
fn add_preload(block: &mut Block, old: &[u8], library: &[u8], first: Option<&[u8]>) {
    block.bytes(PRELOAD);
    let others = preloaded(old).filter(|name| *name != library && !is_sanitizer(name));
    for name in first.into_iter().chain(others) {
        block.bytes(name);
        block.bytes(b":");
    }
    block.bytes(library);
    block.bytes(b"\0");
}

/// A sanitizer that we have put there for the program before: its bare name.
fn is_sanitizer(name: &[u8]) -> bool {
    name.starts_with(b"lib") && name.windows(7).any(|w| w == b"san.so.") && !name.contains(&b'/')
}

/// An environment without the library, for what is not to run under it.
///
/// # Errors
/// ENOMEM.
///
/// # Safety
/// As [`environment`].
pub(crate) unsafe fn without(env: *const *const c_char, library: &[u8]) -> Result<Next> {
    // SAFETY: the caller's.
    let given = || unsafe { strings(env) };
    let len: usize = given().filter(|t| t.starts_with(PRELOAD)).map(|t| t.len() + 2).sum();
    let mut block = Block::new(given().count() + 1, len)?;
    for text in given() {
        match text.strip_prefix(PRELOAD) {
            None => block.word(text.as_ptr().cast()),
            Some(value) => {
                let others = || preloaded(value).filter(|name| *name != library);
                if others().next().is_some() {
                    block.begin(PRELOAD);
                    others().for_each(|name| {
                        block.bytes(name);
                        block.bytes(b":");
                    });
                    block.bytes(b"\0");
                }
            }
        }
    }
    Ok(block.finish())
}
