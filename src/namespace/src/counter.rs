//! What a family's table counts, and what is said of it for good.

/// Calls counted for `ns stat`, by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// A name that the table changed.
    Translated,
    /// Passed on to the kernel as it was.
    Forwarded,
    /// Answered without the kernel's file system.
    Served,
    /// Programs run that the library cannot serve.
    Escaped,
}

impl Counter {
    /// All of them, with the names that `ns stat` gives them.
    pub const ALL: [(Counter, &'static str); 4] = [
        (Counter::Translated, "translated"),
        (Counter::Forwarded, "forwarded"),
        (Counter::Served, "served"),
        (Counter::Escaped, "escaped"),
    ];
}

/// What holds for a family as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Programs that the library cannot serve are refused, not run outside.
    Strict = 1,
    /// The kernel confines every member too (Landlock).
    Enforced = 2,
    /// Members meet at pipes or sockets that servers have, or did: said by those who may change the
    /// table.
    Met = 4,
}
