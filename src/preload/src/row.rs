//! What a row of the table becomes.

/// An entry of libc's own to be patched, so that libc's inner callers arrive
/// too. Rows of the other way, `Symbol`, leave nothing behind but the exported
/// symbol: each pointer in a table is one that the loader relocates at every
/// exec.
pub(crate) struct Row {
    /// The name to look up, and behind NULs the entries that libc keeps to
    /// itself (GLIBC_PRIVATE) with the same body.
    pub(crate) names: &'static str,
    /// Our function.
    pub(crate) address: fn() -> usize,
    /// Only a program whose family has a server needs it.
    pub(crate) remote: bool,
}

impl Row {
    /// The entries that share the body.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.split('\0')
    }
}

/// The row of a call whose entry is patched; nothing for one that is exported
/// only.
macro_rules! entry {
    (Entry $($name:ident)+) => {
        $crate::row::entry!(@row false, $($name)+)
    };
    (Remote $($name:ident)+) => {
        $crate::row::entry!(@row true, $($name)+)
    };
    (@row $remote:literal, $first:ident $($private:ident)*) => {
        Some($crate::row::Row {
            remote: $remote,
            names: concat!(stringify!($first), $("\0", stringify!($private)),*),
            address: || exports::$first::$first::$first as *const () as usize,
        })
    };
    (Symbol $first:ident $($private:ident)*) => {
        None
    };
}

/// Exports one name: redhook's symbol, whose body is the row's function.
macro_rules! export {
    ($name:ident ($($arg:ident : $ty:ty),*) $ret:ty, $module:ident $func:ident) => {
        #[allow(non_snake_case)]
        pub(crate) mod $name {
            #![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, static_mut_refs)]
            #![allow(missing_docs, unreachable_pub, unused_imports, clippy::all)]
            #![allow(unsafe_op_in_unsafe_fn)]
            use super::types::*;
            redhook::hook! {
                unsafe fn $name($($arg: $ty),*) -> $ret => hooked {
                    let outer = crate::trace::begin();
                    let result = crate::$module::$func($($arg),*);
                    crate::trace::end(outer, stringify!($name), result);
                    result
                }
            }
        }
    };
}

/// The table: `way name alias… + private… : module::function(args) -> ret;`.
macro_rules! rows {
    ($($way:ident $first:ident $($alias:ident)* $(+ $($private:ident)+)? :
        $module:ident :: $func:ident $args:tt -> $ret:ty;)*) => {
        /// The exported symbols, one module each.
        pub(crate) mod exports {
            use super::types;
            $(
                $crate::row::export!($first $args $ret, $module $func);
                $($crate::row::export!($alias $args $ret, $module $func);)*
            )*
        }

        /// Every entry to be patched.
        pub(crate) static ROWS: &[Option<$crate::row::Row>] =
            &[$($crate::row::entry!($way $first $($($private)+)?),)*];
    };
}

pub(crate) use {entry, export, rows};
