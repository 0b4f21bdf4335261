//! Damaged files of `ivf_flat` and `ivf_pq`: an error, or an index that keeps its promises; see [`Specimen::survive`].
//!
//! `VDB_DAMAGE_ROUNDS` (rounds a file) and `VDB_DAMAGE_SEED` make a long run of
//! [`whatever_happens_to_a_file_is_told_or_harmless`]; a failure prints both and what was done to which file.

use vdb_index::{Error, Metric};

use crate::common::next;
use crate::largest;
use crate::specimen::{self, KINDS, Kind, METRICS, Specimen};

/// An `.npy` file in its parts.
#[derive(Clone)]
struct Npy {
    descr: String,
    order: String,
    shape: String,
    version: u8,
    /// Added to the length that the header tells of itself.
    length_off: i32,
    data: Vec<u8>,
}

impl Npy {
    fn of(bytes: &[u8]) -> Self {
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let text = std::str::from_utf8(&bytes[10..start]).unwrap();
        let between = |before: &str, after: &str| {
            text.split_once(before).unwrap().1.split_once(after).unwrap().0.to_owned()
        };
        Self {
            descr: between("'descr': '", "'"),
            order: between("'fortran_order': ", ","),
            shape: between("'shape': ", ")") + ")",
            version: 1,
            length_off: 0,
            data: bytes[start..].to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { descr, order, shape, .. } = self;
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        text.extend(std::iter::repeat_n(' ', 63 - (text.len() + 10) % 64));
        text.push('\n');
        let length = (text.len() as u32).wrapping_add_signed(self.length_off);
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([self.version, 0]);
        if self.version == 1 {
            bytes.extend((length as u16).to_le_bytes());
        } else {
            bytes.extend(length.to_le_bytes());
        }
        bytes.extend(text.as_bytes());
        bytes.extend(&self.data);
        bytes
    }

    fn axes(&self) -> Vec<u64> {
        self.shape.split(|c: char| !c.is_ascii_digit()).filter_map(|axis| axis.parse().ok()).collect()
    }

    fn width(&self) -> usize {
        self.descr[2..].parse().unwrap()
    }
}

fn shape_of(axes: &[u64]) -> String {
    format!("({},)", axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// Sizes that no file of ours has, most of them beyond all memory.
const COUNTS: [u64; 9] = [0, 1, 1 << 31, u32::MAX as u64, 1 << 32, 1 << 40, 1 << 61, 1 << 63, u64::MAX];
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "8",
    "1.5",
    "1e3",
    "null",
    "\"9\"",
    "[9]",
    "4294967296",
    "18446744073709551615",
    "1e999",
];

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        next(&mut self.0) as usize % bound.max(1)
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Damage a file; what was done, and the bytes.
fn damaged(name: &str, whole: &[u8], chance: &mut Chance) -> (String, Vec<u8>) {
    let mut bytes = whole.to_vec();
    let what = match chance.below(4) {
        0 => {
            let end = if chance.below(2) == 0 { bytes.len().min(128) } else { bytes.len() };
            let places: Vec<usize> = (0..=chance.below(3)).map(|_| chance.below(end)).collect();
            places.iter().for_each(|&place| bytes[place] ^= 1 << chance.below(8));
            format!("bits of bytes {places:?} flipped")
        }
        1 => {
            let length = chance.below(bytes.len());
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
        2 if name.ends_with(".json") => return other_number(whole, chance),
        3 if name.ends_with(".json") => {
            bytes.extend(vec![b' '; chance.below(9)]);
            bytes.extend(vec![chance.of(b"{[\"0 "); chance.below(2000)]);
            format!("{} bytes longer", bytes.len() - whole.len())
        }
        2 => return other_header(Npy::of(whole), chance),
        _ => return other_values(Npy::of(whole), chance),
    };
    (what, bytes)
}

/// Another value of a field of a JSON object, another name, or a field twice.
fn other_number(whole: &[u8], chance: &mut Chance) -> (String, Vec<u8>) {
    let mut lines: Vec<String> = std::str::from_utf8(whole).unwrap().lines().map(str::to_owned).collect();
    let at = 1 + chance.below(lines.len() - 2);
    match (lines[at].clone().split_once(": "), chance.below(4)) {
        (Some(_), 0) => drop(lines.remove(at)),
        (Some(_), 1) => lines.insert(at, lines[at].trim_end_matches(',').to_owned() + ","),
        (Some((key, value)), _) => {
            let comma = if value.ends_with(',') { "," } else { "" };
            lines[at] = format!("{key}: {}{comma}", chance.of(&NUMBERS));
        }
        (None, _) => lines[at].push('}'),
    }
    let text = lines.join("\n");
    (text.clone(), text.into_bytes())
}

fn other_header(mut npy: Npy, chance: &mut Chance) -> (String, Vec<u8>) {
    let mut axes = npy.axes();
    match chance.below(9) {
        0 => {
            let at = chance.below(axes.len());
            axes[at] = chance.of(&COUNTS);
            npy.shape = shape_of(&axes);
        }
        1 => {
            let at = chance.below(axes.len());
            axes[at] = axes[at].wrapping_add_signed(chance.of(&[-1, 1, 2]));
            npy.shape = shape_of(&axes);
        }
        2 => {
            // The same size, turned or flattened.
            axes.reverse();
            if chance.below(2) == 0 {
                axes = vec![axes.iter().product()];
            }
            npy.shape = shape_of(&axes);
        }
        3 => npy.shape = chance.of(&["()", "(,)", "(-1,)", "(1 2)", "(1e9,)", "(3", "('3',)"]).to_owned(),
        4 => {
            axes.push(chance.of(&[0, 1, 1 << 62]));
            npy.shape = shape_of(&axes);
        }
        5 => npy.descr = chance.of(&["<f8", ">f4", "<i4", "|u1", "|O8", "<u8", "<u4", "<f4", ""]).to_owned(),
        6 => npy.order = chance.of(&["True", "false", "0", "None"]).to_owned(),
        7 => npy.version = chance.of(&[0, 2, 3, 4, 255]),
        _ => npy.length_off = chance.of(&[-100, -64, -1, 1, 64, 30_000, 60_000]),
    }
    let what = format!("{:?}", (&npy.descr, &npy.order, &npy.shape, npy.version, npy.length_off));
    (what, npy.bytes())
}

/// One, some or all of the values are extreme, or there are more or fewer of them, told or not.
fn other_values(mut npy: Npy, chance: &mut Chance) -> (String, Vec<u8>) {
    let width = npy.width();
    let count = npy.data.len() / width;
    let mut extreme = || -> Vec<u8> {
        match (npy.descr.as_str(), width) {
            ("<f4", _) => {
                let value = chance.of(&[
                    f32::NAN,
                    f32::INFINITY,
                    f32::NEG_INFINITY,
                    f32::MAX,
                    f32::MIN,
                    1e30,
                    -0.0,
                    1e-45,
                    0.0,
                ]);
                value.to_le_bytes().to_vec()
            }
            (_, 1) => vec![chance.of(&[0, 15, 16, 127, 128, 240, 255])],
            _ => {
                let near = chance.below(count + 2) as u64;
                let value = chance.of(&[near, u64::MAX, 0, 1 << 31, u64::from(u32::MAX), 1 << 63]);
                value.to_le_bytes()[..width].to_vec()
            }
        }
    };
    let (value, other) = (extreme(), extreme());
    let (at, end) = (chance.below(count), chance.below(count) + 1);
    let what = match chance.below(5) {
        0 => {
            npy.data.chunks_mut(width).for_each(|place| place.copy_from_slice(&value));
            format!("all values {value:?}")
        }
        1 => {
            let row = at.min(end)..at.max(end).min(count);
            npy.data.chunks_mut(width).take(row.end).skip(row.start).for_each(|place| {
                place.copy_from_slice(&value);
            });
            format!("values {row:?} {value:?}")
        }
        2 => {
            let swapped = at.min(end).min(count.saturating_sub(1));
            if swapped < count {
                npy.data[swapped * width..][..width].copy_from_slice(&value);
                npy.data[..width].copy_from_slice(&other);
            }
            format!("values 0 and {swapped} {other:?} {value:?}")
        }
        3 => {
            npy.data.extend(value.repeat(chance.below(40) + 1));
            format!("{} bytes of data", npy.data.len())
        }
        _ => {
            // A row more or fewer, and a shape that says so.
            let mut axes = npy.axes();
            let row = npy.data.len() / axes[0].max(1) as usize;
            if chance.below(2) == 0 {
                npy.data.extend_from_within(..row);
                axes[0] += 1;
            } else {
                npy.data.truncate(npy.data.len() - row);
                axes[0] -= 1;
            }
            npy.shape = shape_of(&axes);
            format!("shape {}, and the data too", npy.shape)
        }
    };
    (what, npy.bytes())
}

/// Says what was done when a test fails while it holds this.
struct Done(String);

impl Drop for Done {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn survive(specimen: &Specimen, changes: &[(&str, Option<&[u8]>)]) -> Result<(), Error> {
    let (result, request) = largest::request_of(|| specimen.survive(changes));
    let most = 16
        * (specimen.size() + changes.iter().flat_map(|each| each.1).map(|bytes| bytes.len()).sum::<usize>());
    assert!(request <= most + (1 << 20), "{request} bytes at a time for files of {}", specimen.size());
    result
}

fn rounds(specimen: &Specimen, rounds: u64, seed: u64) {
    for (name, whole) in &specimen.files {
        for round in 0..rounds {
            let context =
                format!("{:?} {} VDB_DAMAGE_SEED={seed} round {round}", specimen.kind, specimen.metric);
            let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9).wrapping_add(round));
            name.bytes().for_each(|byte| chance.0 = chance.0.wrapping_mul(31).wrapping_add(u64::from(byte)));
            let (what, bytes) = damaged(name, whole, &mut chance);
            let mut changes = vec![(name.as_str(), Some(bytes.as_slice()))];
            let (other, others_whole) = &specimen.files[chance.below(specimen.files.len())];
            let (others_what, others_bytes) = damaged(other, others_whole, &mut chance);
            let both = chance.below(4) == 0 && other != name;
            if both {
                changes.push((other, Some(&others_bytes)));
            }
            let more = if both { format!("; {other}: {others_what}") } else { String::new() };
            let _done = Done(format!("{context}: {name}: {what}{more}"));
            let _ = survive(specimen, &changes);
        }
    }
}

#[test]
fn whatever_happens_to_a_file_is_told_or_harmless() {
    let (count, seed) =
        (number("VDB_DAMAGE_ROUNDS", if cfg!(miri) { 1 } else { 16 }), number("VDB_DAMAGE_SEED", 1));
    for kind in KINDS {
        for metric in METRICS {
            rounds(&Specimen::new(kind, metric, 70, 5), count, seed);
            if cfg!(miri) {
                continue;
            }
            // Centroids are ranked by codes from 32 dimensions on.
            rounds(&Specimen::new(kind, metric, 300, 40), count, seed);
            // So many rows have codes themselves.
            rounds(&Specimen::new(kind, metric, 4200, 80), count.div_ceil(12), seed);
        }
    }
}

#[test]
fn what_was_saved_opens_and_what_is_missing_is_named() {
    for specimen in specimen::small() {
        survive(&specimen, &[]).unwrap();
        for (name, whole) in &specimen.files {
            let error = survive(&specimen, &[(name, None)]).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains(name), "{error}");
            survive(&specimen, &[(name, Some(whole))]).unwrap();
        }
    }
}

#[test]
fn what_is_no_file_or_endless_is_damage() {
    let specimen = Specimen::new(Kind::Pq(4), Metric::L2, 70, 5);
    for (name, whole) in &specimen.files {
        let path = specimen.path().join(name);
        let told = |what: &str| {
            let error = survive(&specimen, &[]).unwrap_err();
            assert!(
                matches!(error, Error::Damaged { .. }) && error.to_string().contains(name),
                "{what}: {error}"
            );
        };
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        told("a folder");
        std::fs::remove_dir(&path).unwrap();
        #[cfg(all(unix, not(miri)))]
        {
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            told("a device");
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::write(&path, whole).unwrap();
        // A file with a hole: a terabyte that takes no room.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        told("a terabyte");
        std::fs::write(&path, whole).unwrap();
        survive(&specimen, &[]).unwrap();
    }
}

/// Every lie that a header can tell about its array is found out, before memory is taken for it.
#[test]
fn a_header_that_lies_is_refused() {
    for kind in KINDS {
        let specimen = Specimen::new(kind, Metric::L2, 70, 5);
        for (name, whole) in specimen.files.iter().filter(|file| file.0.ends_with(".npy")) {
            let honest = Npy::of(whole);
            survive(&specimen, &[(name, Some(&honest.bytes()))]).unwrap();
            // Versions 2 and 3 differ from 1 in the width of the header's length only.
            for version in [2, 3] {
                survive(&specimen, &[(name, Some(&Npy { version, ..honest.clone() }.bytes()))]).unwrap();
            }
            let refused = |change: &dyn Fn(&mut Npy)| {
                let mut npy = honest.clone();
                change(&mut npy);
                let error = survive(&specimen, &[(name, Some(&npy.bytes()))]).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            };
            for axis in 0..honest.axes().len() {
                for count in COUNTS {
                    let mut axes = honest.axes();
                    axes[axis] = count;
                    refused(&|npy| npy.shape = shape_of(&axes));
                }
            }
            for descr in ["<f8", ">f4", "<i4", "|b1", "|O8", "<f2", ">u8", ""] {
                refused(&|npy| descr.clone_into(&mut npy.descr));
            }
            for order in ["True", "1", ""] {
                refused(&|npy| order.clone_into(&mut npy.order));
            }
            for version in [0, 4, 255] {
                refused(&|npy| npy.version = version);
            }
            for length_off in [-64, -1, 1, 64, 60_000] {
                refused(&|npy| npy.length_off = length_off);
            }
            refused(&|npy| npy.data.clear());
            refused(&|npy| npy.data.push(0));
            refused(&|npy| npy.data.truncate(npy.data.len() - 1));
            refused(&|npy| npy.data.extend_from_within(..));
        }
    }
}

/// Numbers in `index.json` that no array agrees with.
/// A file may be as large as a shape says and take no room on the disk: what is asked for is what `index.json` knows.
#[cfg(not(miri))]
#[test]
fn a_sparse_file_of_any_length_takes_no_memory() {
    for kind in KINDS {
        let specimen = Specimen::new(kind, Metric::L2, 70, 5);
        for (name, whole) in specimen.files.iter().filter(|(name, _)| name.ends_with(".npy")) {
            let mut npy = Npy::of(whole);
            let mut axes = npy.axes();
            axes[0] = (1 << 36) / (npy.width() as u64 * axes.get(1).copied().unwrap_or(1));
            npy.shape = shape_of(&axes);
            npy.data.clear();
            let (path, header) = (specimen.path().join(name), npy.bytes());
            std::fs::write(&path, &header).unwrap();
            let values = axes.iter().product::<u64>() * npy.width() as u64;
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(header.len() as u64 + values).unwrap();
            let (result, request) = largest::request_of(|| specimen.survive(&[]));
            let error = result.unwrap_err().to_string();
            assert!(error.contains(name.as_str()) && error.contains("expected shape"), "{error}");
            assert!(request < 1 << 20, "{name}: {request} bytes at a time");
            std::fs::write(&path, whole).unwrap();
        }
    }
}

#[test]
fn parameters_that_lie_are_refused() {
    for kind in KINDS {
        let specimen = Specimen::new(kind, Metric::Dot, 70, 5);
        let (name, whole) =
            &specimen.files[specimen.files.iter().position(|file| file.0 == "index.json").unwrap()];
        let text = std::str::from_utf8(whole).unwrap();
        for line in text.lines().filter(|line| line.contains(": ") && !line.ends_with('{')) {
            let (key, value) = line.split_once(": ").unwrap();
            if key.contains("seed") {
                continue; // any seed is one
            }
            for number in NUMBERS {
                let fits = key.contains("n_bits") && number == "8"
                    || key.contains("stretch")
                        && number.parse().is_ok_and(|stretch| (1.0..=8.0).contains(&stretch));
                if value.trim_end_matches(',') == number || fits {
                    continue;
                }
                let changed = text.replace(line, &line.replace(value.trim_end_matches(','), number));
                let error = survive(&specimen, &[(name, Some(changed.as_bytes()))]).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
            }
        }
    }
}

/// Every row lies in one list, once, and lists begin where the ones before them end.
#[test]
fn lists_that_are_no_permutation_are_refused() {
    let specimen = Specimen::new(Kind::Flat, Metric::L2, 70, 5);
    let refused = |name: &str, at: usize, value: u64| {
        let (name, whole) = specimen.files.iter().find(|file| file.0 == name).unwrap();
        let mut npy = Npy::of(whole);
        let (width, value) = (npy.width(), value.to_le_bytes());
        let place = &mut npy.data[at * width..][..width];
        if place != &value[..width] {
            place.copy_from_slice(&value[..width]);
            let error = survive(&specimen, &[(name, Some(&npy.bytes()))]).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
    };
    for at in (0..70).step_by(if cfg!(miri) { 23 } else { 1 }) {
        for slot in (0..70).step_by(3).chain([69, 70, 71, u64::from(u32::MAX)]) {
            refused("slots.npy", at, slot);
        }
    }
    // Two rows of a list that change places: no row is missing, but a list is out of order.
    let values = |name: &str| -> Vec<u64> {
        let npy = Npy::of(&specimen.files.iter().find(|file| file.0 == name).unwrap().1);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        npy.data.chunks(npy.width()).map(number).collect()
    };
    let starts = values("offsets.npy");
    let (name, whole) = specimen.files.iter().find(|file| file.0 == "slots.npy").unwrap();
    let inner: Vec<usize> = (1..70).filter(|&at| !starts.contains(&(at as u64))).collect();
    assert!(inner.len() > 40);
    for at in inner {
        let mut npy = Npy::of(whole);
        npy.data[(at - 1) * 4..(at + 1) * 4].rotate_left(4);
        let error = survive(&specimen, &[(name, Some(&npy.bytes()))]).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    let inside = (1..9).flat_map(|at| [71, 1 << 32, 1 << 63, u64::MAX].map(|value| (at, value)));
    let ends = [(0, 1), (0, u64::MAX), (9, 0), (9, 69), (9, 71), (9, (1 << 32) + 70)];
    inside.chain(ends).for_each(|(at, value)| refused("offsets.npy", at, value));
}

/// No value of a float array is refused, and none costs a row.
#[test]
fn values_that_are_no_numbers_cost_order_and_nothing_else() {
    let special = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45];
    for (rows, dim) in if cfg!(miri) { vec![(70, 5)] } else { vec![(70, 5), (300, 40), (4200, 80)] } {
        for kind in KINDS {
            for metric in METRICS {
                if rows > 1000 && (metric == Metric::Dot || kind == Kind::Pq(8)) {
                    continue;
                }
                let specimen = Specimen::new(kind, metric, rows, dim);
                for (name, whole) in &specimen.files {
                    if !name.ends_with(".npy") || Npy::of(whole).descr != "<f4" {
                        continue;
                    }
                    for value in
                        special.iter().take(if cfg!(miri) || rows > 1000 { 3 } else { special.len() })
                    {
                        for step in [1, dim - 1, 7 * dim] {
                            let mut npy = Npy::of(whole);
                            let places = npy.data.chunks_mut(4).skip(1).step_by(step);
                            places.for_each(|place| place.copy_from_slice(&value.to_le_bytes()));
                            let _done =
                                Done(format!("{kind:?} {metric} {rows} x {dim} {name} {value} {step}"));
                            survive(&specimen, &[(name, Some(&npy.bytes()))]).unwrap();
                        }
                    }
                }
            }
        }
    }
}
