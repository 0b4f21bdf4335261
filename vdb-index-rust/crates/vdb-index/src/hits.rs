//! The hits of an answer as JSON, cut from records, which are JSON: none is parsed on the way.
//!
//! ```text
//! {"id":…,"document_id":…  ,"text":…  ,"metadata":{…}  ,"revision":7,"created_at":"…","updated_at":"…"}
//!                          ^text      ^metadata        ^revision
//! ```
//!
//! Within a JSON string a quote is escaped, so that `,"text":` is a member of an object and no part of a text; before it come
//! ids alone, and behind the last `,"revision":` what is checked to the end of the record.

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};

/// Where members begin.
struct Marks {
    document: Finder<'static>,
    text: Finder<'static>,
    metadata: Finder<'static>,
    revision: FinderRev<'static>,
}

static MARKS: LazyLock<Marks> = LazyLock::new(|| Marks {
    document: Finder::new(b",\"document_id\":"),
    text: Finder::new(b",\"text\":"),
    metadata: Finder::new(b",\"metadata\":"),
    revision: FinderRev::new(REVISION),
});

const REVISION: &[u8] = b",\"revision\":";

/// Write hits as a JSON array of objects: what is shown of each record, its `score`, its `distance`.
///
/// `scores` and `distances` are JSON arrays of a number for each record. Gives nothing where they are not, or where a record
/// has its members in another order, or blanks between them.
pub fn write<'r>(
    records: impl ExactSizeIterator<Item = &'r [u8]>,
    scores: &[u8],
    distances: &[u8],
    text: bool,
    metadata: bool,
) -> Option<Vec<u8>> {
    let (mut scores, mut distances) = (numbers(scores)?, numbers(distances)?);
    if records.len() == 0 {
        return None;
    }
    let mut written = Vec::with_capacity(records.len() * 512);
    for record in records {
        let (head, tail) = shown(record, text, metadata)?;
        written.push(if written.is_empty() { b'[' } else { b',' });
        for piece in
            [head, tail, b",\"score\":", next(&mut scores)?, b",\"distance\":", next(&mut distances)?, b"}"]
        {
            written.extend_from_slice(piece);
        }
    }
    written.push(b']');
    (scores.next().is_none() && distances.next().is_none()).then_some(written)
}

fn numbers(array: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let inside = array.strip_prefix(b"[")?.strip_suffix(b"]")?;
    Some(inside.split(|&byte| byte == b','))
}

fn next<'n>(numbers: &mut impl Iterator<Item = &'n [u8]>) -> Option<&'n [u8]> {
    numbers.next().filter(|number| !number.is_empty())
}

/// Two pieces of a record that together are what is shown of it, without its closing brace.
fn shown(record: &[u8], text: bool, metadata: bool) -> Option<(&[u8], &[u8])> {
    let marks = &*MARKS;
    let behind = |at: usize, mark: &Finder<'_>| mark.find(&record[at..]).map(|found| at + found);
    if !record.starts_with(b"{\"id\":\"") {
        return None;
    }
    let at_text = behind(marks.document.find(record)?, &marks.text)?;
    let at_metadata = behind(at_text, &marks.metadata)?;
    let at_revision = marks.revision.rfind(record)?;
    // What passes for an ending has room for no other mark: all of them are before it.
    if !is_ending(&record[at_revision..]) {
        return None;
    }
    Some(match (text, metadata) {
        (true, true) => (&record[..at_revision], b""),
        (true, false) => (&record[..at_metadata], b""),
        (false, true) => (&record[..at_text], &record[at_metadata..at_revision]),
        (false, false) => (&record[..at_text], b""),
    })
}

/// Whether a text is `,"revision":7,"created_at":"…","updated_at":"…"}` and nothing more.
fn is_ending(text: &[u8]) -> bool {
    let after_string = |text: &'_ [u8]| text.iter().position(|&byte| byte == b'"');
    let ending = || {
        let revision = text.strip_prefix(REVISION)?;
        let digits = revision.iter().position(|byte| !byte.is_ascii_digit())?;
        let created = revision[digits..].strip_prefix(b",\"created_at\":\"")?;
        let updated = created[after_string(created)?..].strip_prefix(b"\",\"updated_at\":\"")?;
        let end = &updated[after_string(updated)?..];
        Some(digits > 0 && end == b"\"}")
    };
    ending().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"id":"a","document_id":null,"text":"x","metadata":{"n":1},"revision":7,"created_at":"c","updated_at":"u"}"#;

    fn told(records: &[&str], scores: &str, distances: &str, text: bool, metadata: bool) -> Option<String> {
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let written = write(records.into_iter(), scores.as_bytes(), distances.as_bytes(), text, metadata)?;
        Some(String::from_utf8(written).unwrap())
    }

    #[test]
    fn what_is_shown_is_cut() {
        for (text, metadata, expected) in [
            (true, true, r#","text":"x","metadata":{"n":1}"#),
            (true, false, r#","text":"x""#),
            (false, true, r#","metadata":{"n":1}"#),
            (false, false, ""),
        ] {
            let one = format!(r#"{{"id":"a","document_id":null{expected},"score":0.5,"distance":1e-7}}"#);
            assert_eq!(told(&[RECORD], "[0.5]", "[1e-7]", text, metadata).unwrap(), format!("[{one}]"));
            let two = told(&[RECORD, RECORD], "[0.5,0.5]", "[1e-7,1e-7]", text, metadata).unwrap();
            assert_eq!(two, format!("[{one},{one}]"));
        }
    }

    #[test]
    fn what_is_written_otherwise_is_not_cut() {
        assert!(told(&[RECORD], "[1]", "[2]", true, true).is_some());
        for (from, to) in [
            (r#"{"id""#, r#"{ "id""#),
            (r#""a","document_id":null"#, r#""a","documentId":null"#),
            (r#","text":"x""#, ""),
            (r#","metadata":{"n":1}"#, ""),
            (r#","text":"x","metadata":{"n":1}"#, r#","metadata":{"n":1},"text":"x""#),
            (r#","revision":7"#, ""),
            (r#","revision":7"#, r#","revision":"#),
            (r#","revision":7"#, r#","revision":-7"#),
            (r#","revision":7"#, r#","revision": 7"#),
            (r#","created_at":"c""#, ""),
            (r#","updated_at":"u""#, ""),
            (r#","updated_at":"u""#, r#","updated_at":"u","more":1"#),
            (r#""u"}"#, r#""u"},"#),
            (r#""u"}"#, r#""u""#),
            (r#""u"}"#, r#""u"#),
        ] {
            let other = RECORD.replace(from, to);
            assert_ne!(other, RECORD);
            assert_eq!(told(&[RECORD, &other], "[1,1]", "[2,2]", true, true), None, "{other}");
        }
    }

    #[test]
    fn there_is_a_number_for_each_record() {
        for (scores, distances) in [
            ("[1]", "[2,2]"),
            ("[1,1]", "[2]"),
            ("[1,1,1]", "[2,2]"),
            ("1,1", "[2,2]"),
            ("[1,1", "[2,2]"),
            ("", ""),
        ] {
            assert_eq!(told(&[RECORD, RECORD], scores, distances, true, true), None);
        }
        assert_eq!(told(&[], "[]", "[]", true, true), None);
        assert_eq!(told(&[RECORD], "[]", "[]", true, true), None);
        assert_eq!(told(&[RECORD], "[1]", "[]", true, true), None);
    }
}
