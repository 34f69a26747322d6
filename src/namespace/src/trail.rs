//! Which component names an answer about names depends on.
//!
//! A remembered directory stays right until one of the components that led to
//! it is renamed, removed or replaced by a link. Members of a family say so by
//! raising the *epoch* of that component's name in their shared table; whoever
//! remembers compares the sum of the epochs on its trail. Only the component
//! counts, not its directory: a call relative to a descriptor knows no more,
//! and a collision costs one needless look.

/// How many epochs a family has.
pub const EPOCHS: usize = 4096;

/// Longest trail that is kept; a longer one is never remembered.
const MAX: usize = 28;

/// The epochs of the components passed on a walk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trail {
    slots: [u16; MAX],
    len: usize,
}

/// The epoch that stands for a component's name.
#[must_use]
#[inline]
pub fn slot(component: &[u8]) -> u16 {
    // FNV-1a (Fowler, Noll, Vo), folded: names are short.
    let hash = component
        .iter()
        .fold(0x811c_9dc5_u32, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    ((hash ^ (hash >> 16)) as usize % EPOCHS) as u16
}

impl Trail {
    /// Adds a component that was passed.
    pub fn pass(&mut self, component: &[u8]) {
        if let Some(place) = self.slots.get_mut(self.len) {
            *place = slot(component);
        }
        self.len = (self.len + 1).min(MAX + 1);
    }

    /// The trail, `None` when it is too long to be kept.
    #[must_use]
    pub fn slots(&self) -> Option<&[u16]> {
        self.slots.get(..self.len)
    }
}
