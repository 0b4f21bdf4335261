//! Memory in large pages where the system has them: codes that lie anywhere are read in less time, because a page of 2 MB
//! needs one entry of the processor's tables where 4 KB pages need 512, and the hardware reads ahead within a page.
//!
//! Linux gives large pages to memory that is touched for the first time. What an allocator hands out may have been in use
//! before, and then stays in small pages: of two arrays of 7 MB only one was in large ones. Such arrays are therefore mapped.

use std::fmt;
use std::ops::{Deref, DerefMut};

#[cfg(target_os = "linux")]
use memmap2::{Advice, MmapMut, MmapOptions};

/// Types of which every byte may be zero.
///
/// # Safety
/// Any bytes of zero are a value, and dropping one does nothing.
pub(crate) unsafe trait Zeroed: Copy {}

// SAFETY: a number.
unsafe impl Zeroed for u8 {}

/// A large page.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// An array in large pages, if it fills one and the system has any.
pub(crate) struct Array<T>(Memory<T>);

enum Memory<T> {
    Allocated(Vec<T>),
    /// Values from byte `start` on.
    #[cfg(target_os = "linux")]
    Mapped {
        map: MmapMut,
        start: usize,
        count: usize,
    },
}

impl<T: Zeroed> Array<T> {
    /// So many values of zero.
    ///
    /// # Allocates
    /// `count` values, and the rest of the last large page where more than half of it is filled.
    pub(crate) fn zeroed(count: usize) -> Self {
        #[cfg(target_os = "linux")]
        if let Some(mapped) = map(count) {
            return Self(mapped);
        }
        // SAFETY: zeros are a value, as `Zeroed` promises.
        Self(Memory::Allocated(vec![unsafe { std::mem::zeroed() }; count]))
    }
}

/// `None` for what fills less than half of a large page, and where the system refuses: then the allocator is asked.
#[cfg(target_os = "linux")]
fn map<T: Zeroed>(count: usize) -> Option<Memory<T>> {
    let bytes = count.checked_mul(size_of::<T>())?;
    // Miri runs no system calls that it does not know.
    if bytes < LARGE / 2 || cfg!(miri) {
        return None;
    }
    let map = MmapOptions::new().len(bytes.checked_add(2 * LARGE)?).map_anon().ok()?;
    let start = map.as_ptr().align_offset(LARGE);
    let large = if bytes % LARGE > LARGE / 2 { bytes.next_multiple_of(LARGE) } else { bytes / LARGE * LARGE };
    // A system that has no large pages says so, which changes nothing.
    let _ = map.advise_range(Advice::HugePage, start, large);
    Some(Memory::Mapped { map, start, count })
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Memory::Allocated(values) => values,
            #[cfg(target_os = "linux")]
            Memory::Mapped { map, start, count } => {
                let bytes = &map[*start..][..count * size_of::<T>()];
                // SAFETY: `count` values of this type were zeros, which are values, and only such were written since; the address
                // is a multiple of a large page, and so of what the type asks for.
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), *count) }
            }
        }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Allocated(values) => values,
            #[cfg(target_os = "linux")]
            Memory::Mapped { map, start, count } => {
                let bytes = &mut map[*start..][..*count * size_of::<T>()];
                // SAFETY: as for `deref`, and borrowed for as long.
                unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), *count) }
            }
        }
    }
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array of {} values", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_and_ours_whatever_its_size() {
        let large = if cfg!(miri) { 1 << 16 } else { 1 << 20 };
        for count in [0, 1, 4095, 4096, large - 1, large, 3 * large + 1, 4 * large + 12_345, 9 * large] {
            let mut bytes = Array::<u8>::zeroed(count);
            assert!(bytes.iter().all(|&byte| byte == 0) && bytes.len() == count);
            bytes.fill(7);
            assert!(bytes.iter().all(|&byte| byte == 7));
        }
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn what_fills_a_large_page_begins_at_one() {
        for count in [LARGE, 3 * LARGE + 5] {
            let array = Array::<u8>::zeroed(count);
            assert!(matches!(array.0, Memory::Mapped { .. }) && array.as_ptr().align_offset(LARGE) == 0);
        }
        assert!(matches!(Array::<u8>::zeroed(LARGE / 2 - 1).0, Memory::Allocated(_)));
        assert!(map::<u8>(usize::MAX).is_none());
    }
}
