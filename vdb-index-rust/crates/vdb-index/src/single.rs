//! What an engine computes for one query beside the search: the query as a row, and the order of what was found.
//!
//! A query is one row and has ten hits, so that what counts is how often something is called, not what it computes.

use crate::bitmap::Bitmap;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::matrix::Matrix;
use crate::metric::Metric;
use crate::results::nearer;

/// Sums of squares between which no number is infinite or NaN, and one at least is not 0.
const PLAIN: (f64, f64) = (1e-30, 1e30);

/// Turn a row into the form in which rows are stored: of length 1 under cosine, as it is otherwise.
///
/// Gives false, and leaves the row as it is, where the row deserves a closer look: its sum of squares is not between
/// 1e-30 and 1e30.
pub fn store(row: &mut [f32], metric: Metric) -> bool {
    let square = (Kernels::best().dot_exact)(row, row);
    // NaN is not between the two.
    if !(PLAIN.0 < square && square < PLAIN.1) {
        return false;
    }
    if metric == Metric::Cosine {
        let length = square.sqrt();
        for value in row {
            *value = (f64::from(*value) / length) as f32;
        }
    }
    true
}

/// Read a JSON array (RFC 8259) of exactly `dim` numbers, each rounded to float64 and then to float32.
///
/// Gives nothing where the text is anything else, or a number is beyond float64. One beyond float32 becomes infinite.
pub fn parse(text: &[u8], dim: usize) -> Option<Vec<f32>> {
    let mut rest = blanks(text).strip_prefix(b"[")?;
    let mut row = Vec::with_capacity(dim.min(rest.len()));
    loop {
        let (value, after) = number(blanks(rest))?;
        if row.len() == dim {
            return None;
        }
        row.push(value);
        let after = blanks(after);
        rest = match after.split_first()? {
            (b',', after) => after,
            (b']', after) => {
                return (blanks(after).is_empty() && row.len() == dim).then_some(row);
            }
            _ => return None,
        };
    }
}

fn blanks(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    &text[begin.unwrap_or(text.len())..]
}

/// The number at the beginning of a text, and what follows it.
fn number(text: &[u8]) -> Option<(f32, &[u8])> {
    let mut significand = 0;
    let mut end = usize::from(text.first() == Some(&b'-'));
    let mut whole = digits(&text[end..], &mut significand);
    if whole == 0 || (whole > 1 && text[end] == b'0') {
        return None;
    }
    end += whole;
    let (mut exponent, mut integer) = (0, true);
    if text.get(end) == Some(&b'.') {
        let fraction = digits(&text[end + 1..], &mut significand);
        if fraction == 0 {
            return None;
        }
        (end, whole, exponent, integer) = (end + 1 + fraction, whole + fraction, -(fraction as i64), false);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let negative = text.get(end + 1) == Some(&b'-');
        end += 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let mut power = 0;
        let places = digits(&text[end..], &mut power);
        if places == 0 {
            return None;
        }
        // What more places say is beyond all that is exact below.
        let power = if places < 9 { power as i64 } else { i64::from(i32::MAX) };
        (end, exponent, integer) = (end + places, exponent + if negative { -power } else { power }, false);
    }
    let value = match exact(significand, whole, exponent) {
        Some(value) if text[0] == b'-' => -value,
        Some(value) => value,
        None => str::from_utf8(&text[..end]).ok()?.parse().ok()?,
    };
    // There is no negative zero among integers.
    let value = if integer { value + 0.0 } else { value };
    value.is_finite().then(|| (value as f32, &text[end..]))
}

/// How many digits a text begins with; `value` goes on with them, and is of use as long as there were 19 at most.
#[inline(always)]
fn digits(text: &[u8], value: &mut u64) -> usize {
    let mut count = 0;
    while let Some(&eight) = text[count..].first_chunk() {
        let word = u64::from_le_bytes(eight);
        let over = word.wrapping_add(0x4646_4646_4646_4646);
        let under = word.wrapping_sub(0x3030_3030_3030_3030);
        if (over | under) & 0x8080_8080_8080_8080 != 0 {
            break;
        }
        // Tens of neighbours, hundreds of pairs, ten thousands of fours.
        let pairs = under.wrapping_mul(10).wrapping_add(under >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
        let all = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
        *value = value.wrapping_mul(100_000_000).wrapping_add(all);
        count += 8;
    }
    while let Some(digit) = text.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    count
}

/// `significand * 10^exponent` where both factors are float64, so that one operation rounds it correctly (Clinger, "How to
/// read floating point numbers accurately", 1990).
fn exact(significand: u64, digits: usize, exponent: i64) -> Option<f64> {
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
        1e18, 1e19, 1e20, 1e21, 1e22,
    ];
    if digits > 19 || significand > 1 << 53 {
        return None;
    }
    let power = POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    Some(if exponent < 0 { significand as i64 as f64 / power } else { significand as i64 as f64 * power })
}

/// Order rows by their distance from a query, in float64; of equally distant ones the lower slot comes first.
///
/// # Arguments
/// * `query`: as long as the rows, in the form in which rows are stored.
/// * `slots`: of rows, in any order; what no row has, or `allowed` does not, is left out, and what is named twice counts once.
/// * `want`: how many to keep.
///
/// # Returns
/// Slots and distances, the nearest first.
///
/// # Errors
/// [`Error::Shape`] when the query is not as long as the rows.
pub fn nearest(
    query: &[f32],
    rows: Matrix<'_>,
    slots: impl IntoIterator<Item = u32>,
    allowed: Option<Bitmap<'_>>,
    metric: Metric,
    want: usize,
) -> Result<(Vec<u32>, Vec<f64>)> {
    if query.len() != rows.dim() {
        return Err(Error::Shape {
            what: "query",
            expected: format!("{} numbers, as the rows have", rows.dim()),
            received: format!("{} numbers", query.len()),
        });
    }
    let usable =
        |&slot: &u32| (slot as usize) < rows.rows() && allowed.is_none_or(|allowed| allowed.contains(slot));
    let mut slots: Vec<u32> = slots.into_iter().filter(usable).collect();
    slots.sort_unstable();
    slots.dedup();
    let kernels = Kernels::best();
    let raw = if metric.is_inner_product() { kernels.dot_exact } else { kernels.l2_exact };
    let mut found: Vec<(f64, u32)> =
        slots.into_iter().map(|slot| (metric.distance(raw(query, rows.row(slot))), slot)).collect();
    found.sort_unstable_by(nearer);
    found.truncate(want);
    Ok(found.into_iter().map(|(distance, slot)| (slot, distance)).unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn rounded(text: &str) -> Option<Vec<f32>> {
        let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
        values.iter().map(|value| value.as_f64().map(|value| value as f32)).collect()
    }

    #[test]
    fn numbers_are_read_as_json_has_them() {
        for text in [
            "[0]",
            "[-0]",
            "[-0.0]",
            "[0.1,-2.5e-3,1E5,1e+2]",
            " [ 1 ,\n2\t,\r3 ] ",
            "[123456789012345678901234567890]",
            "[9007199254740993]",
            "[1e-400]",
            "[3.4028236e38]",
            "[1e39]",
            "[5e-324]",
            "[0.1234567890123456789]",
            "[12345678.87654321]",
            "[1e22,1e23,9007199254740992e-22,9007199254740993e-1]",
            "[1e000000000000000000001]",
            "[0.00000000000000000000000000000000000001e38]",
        ] {
            let expected = rounded(text).unwrap();
            let read = parse(text.as_bytes(), expected.len()).unwrap();
            // serde_json has a negative zero among integers.
            let bits = |row: &[f32]| row.iter().map(|value| (value + 0.0).to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(&expected), "{text}");
        }
        // In the middle between two float32, from where a float64 that is rounded twice goes to the other one.
        for text in ["0.449491068720817566", "0.721484452486038208", "-0.830035716295242310"] {
            let expected = text.parse::<f64>().unwrap() as f32;
            assert_eq!(parse(format!("[{text}]").as_bytes(), 1).unwrap(), [expected], "{text}");
        }
        assert_eq!(parse(b"[-0]", 1).unwrap()[0].to_bits(), 0.0f32.to_bits());
        assert_eq!(parse(b"[-0.0]", 1).unwrap()[0].to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn what_is_no_array_of_so_many_numbers_is_not_read() {
        for text in [
            "",
            "[",
            "]",
            "[]",
            "1",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1]x",
            "[1]]",
            "[[1]]",
            "[01]",
            "[-01]",
            "[1.]",
            "[.5]",
            "[-]",
            "[+1]",
            "[1e]",
            "[1e+]",
            "[e1]",
            "[0x1]",
            "[1_0]",
            "[NaN]",
            "[nan]",
            "[inf]",
            "[Infinity]",
            "[true]",
            "[null]",
            "[\"1\"]",
            "[1e400]",
            "[-1e400]",
            "{\"a\":1}",
            "\u{c}[1]",
            "\u{feff}[1]",
            "[1\u{a0}]",
            "[1,2]",
        ] {
            assert_eq!(parse(text.as_bytes(), 1), None, "{text}");
        }
        assert_eq!(parse(b"[1]", 2), None);
        assert_eq!(parse(b"[1]", usize::MAX), None);
        assert_eq!(parse(b"[\xff]", 1), None);
    }

    proptest! {
        #[test]
        fn every_float_comes_back(values in prop::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 1..40)) {
            let text = serde_json::to_string(&values).unwrap();
            prop_assert_eq!(parse(text.as_bytes(), values.len()).unwrap(), values);
        }

        #[test]
        fn a_text_is_read_as_another_reader_reads_it(text in "\\[[-+0-9.eE, \t]{1,12}\\]") {
            let expected = rounded(&text);
            let dim = expected.as_ref().map_or(1, Vec::len);
            if let (Some(read), Some(expected)) = (parse(text.as_bytes(), dim), &expected) {
                prop_assert_eq!(&read, expected);
            } else {
                // Nothing to read, or a number beyond float64, which both refuse.
                prop_assert!(expected.is_none_or(|values| values.is_empty()));
            }
        }
    }

    #[test]
    fn a_row_is_stored_with_length_one_under_cosine_alone() {
        let mut row = [3.0, 4.0];
        assert!(store(&mut row, Metric::L2));
        assert_eq!(row, [3.0, 4.0]);
        assert!(store(&mut row, Metric::Cosine));
        assert_eq!(row, [0.6, 0.8]);
        for odd in [[0.0, 0.0], [1e-20, 0.0], [1e20, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            let mut row = odd;
            assert!(!store(&mut row, Metric::Cosine) && !store(&mut row, Metric::Dot));
            assert_eq!(row.map(f32::to_bits), odd.map(f32::to_bits));
        }
    }

    #[test]
    fn rows_are_ordered_by_distance_then_slot() {
        let mut rng = Rng::new(6, 0);
        let (rows, dim) = (130, 9);
        let mut data: Vec<f32> = (0..rows * dim).map(|_| rng.below(3) as f32 - 1.0).collect();
        let query: Vec<f32> = data[..dim].to_vec();
        data.copy_within(..dim, 77 * dim);
        let matrix = Matrix::new(&data, rows, dim).unwrap();
        let words = [u64::MAX, u64::MAX << 1, u64::MAX];
        let asked = [77, 0, 200, 5, 77, 64, u32::MAX, 129, 130, 12];
        for (metric, allowed) in [Metric::Cosine, Metric::Dot, Metric::L2]
            .into_iter()
            .flat_map(|metric| [(metric, false), (metric, true)])
        {
            let allowed = allowed.then(|| Bitmap::new(&words, rows).unwrap());
            let mut expected: Vec<(f64, u32)> = [0, 5, 12, 64, 77, 129]
                .into_iter()
                .filter(|&slot| allowed.is_none() || slot != 64)
                .map(|slot| {
                    let pairs =
                        query.iter().zip(matrix.row(slot)).map(|(&a, &b)| (f64::from(a), f64::from(b)));
                    let raw: f64 = if metric == Metric::L2 {
                        pairs.map(|(a, b)| (a - b) * (a - b)).sum()
                    } else {
                        pairs.map(|(a, b)| a * b).sum()
                    };
                    (metric.distance(raw), slot)
                })
                .collect();
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            for want in [0, 1, 3, 6, 9] {
                let (slots, distances) = nearest(&query, matrix, asked, allowed, metric, want).unwrap();
                let kept = &expected[..want.min(expected.len())];
                assert_eq!(slots, kept.iter().map(|one| one.1).collect::<Vec<_>>());
                assert_eq!(distances, kept.iter().map(|one| one.0).collect::<Vec<_>>());
            }
        }
        assert!(nearest(&query[1..], matrix, asked, None, Metric::L2, 1).is_err());
    }
}
