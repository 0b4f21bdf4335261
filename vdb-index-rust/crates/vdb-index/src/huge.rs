//! Memory in large pages where the system has them: codes that lie anywhere are read at twice the speed, because a page of
//! 2 MB needs one entry of the processor's tables where 4 KB pages need 512, and the hardware reads ahead within a page.

/// So many bytes of zero, in large pages if they fill any.
///
/// # Allocates
/// `count` bytes.
pub(crate) fn zeroed(count: usize) -> Vec<u8> {
    let values = vec![0; count];
    // Fresh memory of this size comes from the system and was not touched yet: its pages are made as they are asked for.
    advise(values.as_ptr() as usize, count);
    values
}

/// So many equal values, in large pages if they fill any.
///
/// # Allocates
/// `count` values.
pub(crate) fn filled<T: Copy>(value: T, count: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(count);
    advise(values.as_ptr() as usize, count * size_of::<T>());
    values.resize(count, value);
    values
}

// Miri runs no system calls that it does not know.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise(address: usize, bytes: usize) {
    const LARGE: usize = 2 << 20;
    const SMALL: usize = 4096;
    let start = address.next_multiple_of(SMALL);
    let end = (address + bytes) / SMALL * SMALL;
    if end < start + 2 * LARGE {
        return;
    }
    // SAFETY: the range lies within one allocation; the advice changes how memory is paged, never what it holds. A system
    // that has no large pages says so, which changes nothing.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
}

#[cfg(any(not(target_os = "linux"), miri))]
fn advise(_: usize, _: usize) {}

#[cfg(test)]
mod tests {
    use super::{filled, zeroed};

    #[test]
    fn memory_is_zero_and_ours_whatever_its_size() {
        let large = if cfg!(miri) { 1 << 16 } else { 1 << 20 };
        for count in [0, 1, 4095, 4096, 4 * large + 12_345, 9 * large] {
            let mut bytes = zeroed(count);
            assert!(bytes.iter().all(|&byte| byte == 0) && bytes.len() == count);
            bytes.fill(7);
        }
        assert!(filled(7.5f32, 3 * large).iter().all(|&value| value == 7.5));
    }
}
