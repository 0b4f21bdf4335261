//! Memory in large pages where the system has them: codes that lie anywhere are read at twice the speed, because a page of
//! 2 MB needs one entry of the processor's tables where 4 KB pages need 512, and the hardware reads ahead within a page.

/// So many zeros, in large pages if they fill any.
///
/// # Allocates
/// `count` values.
pub(crate) fn zeroed<T: Zero>(count: usize) -> Vec<T> {
    let values = vec![T::ZERO; count];
    // Fresh memory of this size comes from the system and was not touched yet: its pages are made as they are asked for.
    advise(values.as_ptr() as usize, size_of_val(values.as_slice()));
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

/// Numbers whose zero is all bits 0.
pub(crate) trait Zero: Copy {
    const ZERO: Self;
}

impl Zero for u8 {
    const ZERO: Self = 0;
}

impl Zero for f32 {
    const ZERO: Self = 0.0;
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
    use super::zeroed;

    #[test]
    fn memory_is_zero_and_ours_whatever_its_size() {
        let large = if cfg!(miri) { 1 << 16 } else { 1 << 20 };
        for count in [0, 1, 4095, 4096, 4 * large + 12_345, 9 * large] {
            let mut bytes: Vec<u8> = zeroed(count);
            assert!(bytes.iter().all(|&byte| byte == 0) && bytes.len() == count);
            bytes.fill(7);
        }
        assert!(zeroed::<f32>(3 * large).iter().all(|&value| value == 0.0));
    }
}
