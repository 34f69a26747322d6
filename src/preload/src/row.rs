//! What a row of the table becomes.

/// How libc is entered for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The exported symbol, and libc's own entry, so that libc's inner callers
    /// arrive too.
    Entry,
    /// The exported symbol alone: libc's own function is called on from it, or
    /// its inner calls arrive by their own rows.
    Symbol,
}

/// A row, as the inventory has it.
pub(crate) struct Row {
    /// How it is entered.
    pub(crate) way: Way,
    /// The names of libc that share one body; the first is looked up.
    pub(crate) names: &'static [&'static str],
    /// Entries that libc keeps to itself (GLIBC_PRIVATE) with the same body.
    pub(crate) private: &'static [&'static str],
    /// Our function.
    pub(crate) address: fn() -> usize,
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

        /// Every row.
        pub(crate) static ROWS: &[$crate::row::Row] = &[$(
            $crate::row::Row {
                way: $crate::row::Way::$way,
                names: &[stringify!($first), $(stringify!($alias)),*],
                private: &[$($(stringify!($private)),+)?],
                address: || exports::$first::$first::$first as *const () as usize,
            },
        )*];
    };
}

pub(crate) use {export, rows};
