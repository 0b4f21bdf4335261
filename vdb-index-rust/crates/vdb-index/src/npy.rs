//! Reading and writing `.npy`, the array format of NumPy, versions 1 to 3, C order, little endian.
//!
//! A file is trusted in nothing: its size must be what its header promises before any memory is taken.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Ours have 118 bytes; anything much longer is not a header.
const LONGEST_HEADER: usize = 1 << 16;
const BLOCK: usize = 1 << 16;

/// A type of array element.
pub trait Element: Copy + Send + private::Bytes {
    /// NumPy's name of the type.
    const DESCR: &'static str;
}

mod private {
    pub trait Bytes: Sized {
        const SIZE: usize;
        fn put(self, to: &mut Vec<u8>);
        fn get(from: &[u8]) -> Self;
    }
}

macro_rules! element {
    ($type:ty, $descr:literal) => {
        impl Element for $type {
            const DESCR: &'static str = $descr;
        }
        impl private::Bytes for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn put(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn get(from: &[u8]) -> Self {
                let mut bytes = [0; size_of::<$type>()];
                bytes.copy_from_slice(from);
                Self::from_le_bytes(bytes)
            }
        }
    };
}

element!(u8, "|u1");
element!(u32, "<u4");
element!(u64, "<u8");
element!(f32, "<f4");

/// Write an array. The file is not synced: whoever makes it durable does that for all files at once.
///
/// # Errors
/// [`Error::Io`]; [`Error::Shape`] when `shape` and `data` disagree.
pub fn write<T: Element>(path: &Path, shape: &[usize], data: &[T]) -> Result<()> {
    if shape.iter().product::<usize>() != data.len() {
        return Err(Error::Shape {
            what: "array",
            expected: format!("{} values", shape.iter().product::<usize>()),
            received: format!("{}", data.len()),
        });
    }
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(&header::<T>(shape)).map_err(io)?;
    let mut bytes = Vec::with_capacity(BLOCK * T::SIZE);
    for block in data.chunks(BLOCK) {
        bytes.clear();
        block.iter().for_each(|value| value.put(&mut bytes));
        file.write_all(&bytes).map_err(io)?;
    }
    file.flush().map_err(io)
}

fn header<T: Element>(shape: &[usize]) -> Vec<u8> {
    let shape = match shape {
        [one] => format!("({one},)"),
        more => format!("({})", more.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", T::DESCR);
    // Data starts at a multiple of 64 bytes, so that it can be mapped.
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// Read an array of `DIMENSIONS` dimensions.
///
/// # Errors
/// [`Error::Damaged`] when the file is missing, is not such an array, of another shape than is expected, where one is, or is shorter
/// or longer than its header says;
/// [`Error::Io`] when it cannot be read.
pub fn read<T: Element, const DIMENSIONS: usize>(
    path: &Path,
    expected: Option<[usize; DIMENSIONS]>,
) -> Result<([usize; DIMENSIONS], Vec<T>)> {
    let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => damaged("the file is missing".to_owned()),
        std::io::ErrorKind::UnexpectedEof => damaged("the file ends too early".to_owned()),
        _ => Error::Io { path: path.to_owned(), source },
    };
    // Asked before it is opened: a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(damaged("not a regular file".to_owned()));
    }
    let size = metadata.len();
    let mut file = File::open(path).map_err(io)?;
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(io)?;
    if &start[..6] != MAGIC {
        return Err(damaged("not an .npy file".to_owned()));
    }
    let (length, prefix) = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            file.read_exact(&mut bytes).map_err(io)?;
            (usize::from(u16::from_le_bytes(bytes)), 10)
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            file.read_exact(&mut bytes).map_err(io)?;
            (u32::from_le_bytes(bytes) as usize, 12)
        }
        other => return Err(damaged(format!(".npy version {other} is not known"))),
    };
    if length > LONGEST_HEADER {
        return Err(damaged(format!("a header of {length} bytes is too long")));
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).map_err(io)?;
    let text = String::from_utf8_lossy(&text);
    let shape = parse::<DIMENSIONS>(&text, T::DESCR).map_err(damaged)?;
    if let Some(expected) = expected.filter(|&expected| expected != shape) {
        return Err(damaged(format!("expected shape {expected:?}, found {shape:?}")));
    }
    let count = shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis));
    let bytes_expected =
        count.and_then(|count| count.checked_mul(T::SIZE)).and_then(|b| b.checked_add(prefix + length));
    let (Some(count), Some(bytes_expected)) = (count, bytes_expected) else {
        return Err(damaged(format!("shape {shape:?} is too large")));
    };
    if size != bytes_expected as u64 {
        return Err(damaged(format!("expected {bytes_expected} bytes for shape {shape:?}, found {size}")));
    }
    let mut values = Vec::with_capacity(count);
    let mut bytes = vec![0; BLOCK * T::SIZE];
    while values.len() < count {
        let block = &mut bytes[..BLOCK.min(count - values.len()) * T::SIZE];
        file.read_exact(block).map_err(io)?;
        values.extend(block.chunks_exact(T::SIZE).map(T::get));
    }
    Ok((shape, values))
}

/// The shape in a header, whose type and order must be as expected.
fn parse<const DIMENSIONS: usize>(
    text: &str,
    descr: &str,
) -> std::result::Result<[usize; DIMENSIONS], String> {
    let found = value_of(text, "descr")
        .and_then(|rest| rest.strip_prefix('\''))
        .and_then(|rest| rest.split('\'').next());
    if found != Some(descr) {
        return Err(format!("expected values of type {descr:?}, found {:?}", found.unwrap_or("none")));
    }
    if !value_of(text, "fortran_order").is_some_and(|rest| rest.starts_with("False")) {
        return Err("expected C order".to_owned());
    }
    let inside = value_of(text, "shape")
        .and_then(|rest| rest.strip_prefix('('))
        .and_then(|rest| rest.split(')').next())
        .ok_or_else(|| "the header has no shape".to_owned())?;
    let axes: Vec<&str> = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty()).collect();
    let mut shape = [0; DIMENSIONS];
    if axes.len() != DIMENSIONS {
        return Err(format!("expected {DIMENSIONS} dimensions, found {}", axes.len()));
    }
    for (place, axis) in shape.iter_mut().zip(axes) {
        *place = axis.parse().map_err(|_| format!("{axis:?} is not a size"))?;
    }
    Ok(shape)
}

fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comes_back_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        // More than is read at a time; Miri takes minutes for so many.
        let columns = if cfg!(miri) { 100 } else { 10_000 };
        let values: Vec<f32> = (0..7 * columns as u32).map(|i| i as f32).collect();
        write(&path, &[7, columns], &values).unwrap();
        assert_eq!(read::<f32, 2>(&path, None).unwrap(), ([7, columns], values));
        write::<u64>(&path, &[0], &[]).unwrap();
        assert_eq!(read::<u64, 1>(&path, None).unwrap(), ([0], vec![]));
        assert!(matches!(write(&path, &[3], &[1u8]), Err(Error::Shape { .. })));
    }

    #[test]
    fn says_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        assert!(read::<u32, 1>(&path, None).unwrap_err().to_string().contains("missing"));
        write(&path, &[3], &[1u32, 2, 3]).unwrap();
        assert!(read::<f32, 1>(&path, None).unwrap_err().to_string().contains("type"));
        assert!(read::<u32, 2>(&path, None).unwrap_err().to_string().contains("2 dimensions"));
        assert!(read::<u32, 1>(&path, Some([9])).unwrap_err().to_string().contains("expected shape [9]"));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read::<u32, 1>(&path, None).unwrap_err().to_string().contains("bytes"));
        std::fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
        assert!(read::<u32, 1>(&path, None).unwrap_err().to_string().contains("bytes"));
        let huge = String::from_utf8_lossy(&whole[10..128]).replace("(3,)", "(4611686018427387905,)");
        let mut forged = whole[..10].to_vec();
        forged[8..10].copy_from_slice(&(huge.len() as u16).to_le_bytes());
        forged.extend(huge.as_bytes());
        std::fs::write(&path, &forged).unwrap();
        assert!(read::<u32, 1>(&path, None).unwrap_err().to_string().contains("too large"));
    }

    proptest! {
        /// A flipped byte or a cut is an error or other values, never a panic or a wish for more memory than there is.
        #[test]
        fn damage_is_survived(place in 0usize..150, value: u8, cut in 0usize..150) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.npy");
            write(&path, &[2, 3], &[1u32, 2, 3, 4, 5, 6]).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[place] = value;
            bytes.truncate(bytes.len().saturating_sub(cut));
            std::fs::write(&path, &bytes).unwrap();
            if let Ok((shape, values)) = read::<u32, 2>(&path, None) {
                prop_assert_eq!(shape.iter().product::<usize>(), values.len());
            }
        }
    }
}
