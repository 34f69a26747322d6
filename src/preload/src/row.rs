//! What a row of the table becomes.

/// How many of libc's entries a row patches: of an `Entry` or a `Remote` row
/// its first name and those that libc keeps to itself (GLIBC_PRIVATE) with the
/// same body.
macro_rules! patches {
    (Symbol $($name:ident)+) => {
        0
    };
    ($way:ident $($name:ident)+) => {
        0 $(+ { let _ = stringify!($name); 1 })+
    };
}

/// Calls `each` with every entry that a row patches, where it is to lead, and
/// whether only a program whose family has a server needs it. Code and not a
/// table: each pointer in a table is one that the loader relocates at every
/// exec.
macro_rules! entry {
    ($each:ident Symbol $($name:ident)+) => {};
    ($each:ident Entry $($name:ident)+) => {
        $crate::row::entry!(@each $each false, $($name)+);
    };
    ($each:ident Remote $($name:ident)+) => {
        $crate::row::entry!(@each $each true, $($name)+);
    };
    (@each $each:ident $remote:literal, $first:ident $($private:ident)*) => {
        let to = exports::$first::$first::$first as *const () as usize;
        $each(stringify!($first), to, $remote);
        $($each(stringify!($private), to, $remote);)*
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
                    if crate::trace::is_on() {
                        let call = || crate::$module::$func($($arg),*);
                        return crate::trace::around(stringify!($name), call);
                    }
                    crate::$module::$func($($arg),*)
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

        /// How many of libc's entries are patched.
        pub(crate) const ENTRIES: usize = 0 $(+ $crate::row::patches!($way $first $($($private)+)?))*;

        /// Calls `each` with the name of each of them, always in the same
        /// order, the address of our function, and whether only a program
        /// whose family has a server needs it.
        pub(crate) fn entries(each: &mut dyn FnMut(&'static str, usize, bool)) {
            $($crate::row::entry!(each $way $first $($($private)+)?);)*
        }
    };
}

pub(crate) use {entry, export, patches, rows};
