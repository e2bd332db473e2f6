#![forbid(unsafe_code)]
//! Primitive types of jute: big-endian integers, length-prefixed buffers and strings, counted vectors
//! (stock `BinaryInputArchive`, `BinaryOutputArchive`).
//!
//! Lengths are checked against the bytes present, never used to allocate ahead: a count that the frame cannot hold
//! ends as [`DecodeError::Short`] when the bytes run out.

/// Why bytes were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record wants more bytes than there are.
    #[error("record ends early")]
    Short,
    /// A string or buffer length below -1.
    #[error("length {0} of a string or buffer is negative")]
    Length(i32),
    /// A value outside its enumeration: an operation type inside a multi, a kind of txn.
    #[error("unknown kind {0}")]
    Kind(i32),
    /// Null where the record cannot do without a value.
    #[error("null where a value is required")]
    Null,
    /// Text that is not what it must be; only in our own files.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads jute values off the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take::<1>()?[0])
    }

    /// One byte; any but 0 is true.
    pub fn boolean(&mut self) -> Result<bool> {
        Ok(self.byte()? != 0)
    }

    /// Four bytes.
    pub fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    /// Eight bytes.
    pub fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A buffer; `None` is null (-1), which differs from empty.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| DecodeError::Length(length))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(Some(head))
    }

    /// A string's bytes, as they stand; the same shape as a buffer.
    pub fn string(&mut self) -> Result<Option<&'a [u8]>> {
        self.buffer()
    }

    /// A vector's count: `None` for -1; below -1 counts as empty, as in stock (`BinaryIndex.done`).
    pub fn count(&mut self) -> Result<Option<u32>> {
        let count = self.int()?;
        Ok(if count == -1 { None } else { Some(u32::try_from(count).unwrap_or(0)) })
    }

    /// A vector of strings; null is `None`.
    pub fn strings(&mut self) -> Result<Option<Vec<Option<&'a [u8]>>>> {
        let Some(count) = self.count()? else { return Ok(None) };
        // An element takes four bytes at least: never reserve more than the frame can hold.
        let mut out = Vec::with_capacity((count as usize).min(self.rest.len() / 4));
        for _ in 0..count {
            out.push(self.string()?);
        }
        Ok(Some(out))
    }
}

/// Appends jute values to a byte vector.
pub trait Writer {
    /// Raw bytes.
    fn raw(&mut self, bytes: &[u8]);

    /// One byte.
    fn byte(&mut self, v: u8) {
        self.raw(&[v]);
    }
    /// 0 or 1.
    fn boolean(&mut self, v: bool) {
        self.raw(&[u8::from(v)]);
    }
    /// Four bytes, big-endian.
    fn int(&mut self, v: i32) {
        self.raw(&v.to_be_bytes());
    }
    /// Eight bytes, big-endian.
    fn long(&mut self, v: i64) {
        self.raw(&v.to_be_bytes());
    }
    /// A length, then the bytes; -1 for `None`.
    fn buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.int(-1),
            Some(bytes) => {
                self.int(length_of(bytes));
                self.raw(bytes);
            }
        }
    }
    /// A string that is not null.
    fn string(&mut self, v: &[u8]) {
        self.buffer(Some(v));
    }
}

/// Lengths are 32 bits; whatever we write came from frames or records far below 2 GiB.
fn length_of(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("records are bounded by the frame limit, far below 2 GiB")
}

impl Writer for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> Writer for smallvec::SmallVec<[u8; N]> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// UTF-8 to the bytes Java writes for the same string: characters beyond U+FFFF become two three-byte surrogates.
/// `None` when `utf8` is not UTF-8 (reliability M19: never stored with replacements).
pub fn to_java_bytes(utf8: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let text = std::str::from_utf8(utf8).ok()?;
    if utf8.iter().all(|&b| b < 0xf0) {
        return Some(std::borrow::Cow::Borrowed(utf8));
    }
    let mut out = Vec::with_capacity(utf8.len() + utf8.len() / 2);
    for unit in text.encode_utf16() {
        match unit {
            0..0x80 => out.push(unit as u8),
            0x80..0x800 => out.extend_from_slice(&[0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
            _ => out.extend_from_slice(&[
                0xe0 | (unit >> 12) as u8,
                0x80 | ((unit >> 6) & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
    Some(std::borrow::Cow::Owned(out))
}

/// The text Java makes of received bytes, as UTF-8: what is not UTF-8 becomes U+FFFD as its decoder does it, which takes
/// an encoded surrogate for one malformed character, where Rust takes it for several (`String(byte[], UTF_8)`).
pub fn java_text(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if std::str::from_utf8(raw).is_ok() {
        return std::borrow::Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len() + 8);
    let mut rest = raw;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, malformed) = rest.split_at(valid);
        out.extend_from_slice(text);
        if malformed.is_empty() {
            break;
        }
        out.extend_from_slice("\u{fffd}".as_bytes());
        rest = &malformed[malformed_length(malformed)..];
    }
    std::borrow::Cow::Owned(out)
}

/// How many bytes the first malformed character takes: the longest start of a character, of a surrogate as well.
fn malformed_length(bytes: &[u8]) -> usize {
    let continues = |at: usize, low: u8, high: u8| bytes.get(at).is_some_and(|b| (low..=high).contains(b));
    let (low, high, length) = match bytes[0] {
        0xe0 => (0xa0, 0xbf, 3),
        0xe1..=0xef => (0x80, 0xbf, 3),
        0xf0 => (0x90, 0xbf, 4),
        0xf1..=0xf3 => (0x80, 0xbf, 4),
        0xf4 => (0x80, 0x8f, 4),
        _ => return 1,
    };
    if !continues(1, low, high) {
        return 1;
    }
    (2..length).take_while(|&at| continues(at, 0x80, 0xbf)).last().map_or(2, |last| last + 1)
}

/// What stock sends back for a string it merely echoes (sync, watch events on odd paths): decoded leniently, then
/// encoded as Java does.
pub fn echo_bytes(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match java_text(raw) {
        std::borrow::Cow::Borrowed(text) => to_java_bytes(text).expect("it is UTF-8"),
        std::borrow::Cow::Owned(text) => {
            std::borrow::Cow::Owned(to_java_bytes(&text).expect("it is UTF-8").into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_characters_take_six_bytes() {
        assert_eq!(
            to_java_bytes("a\u{1f600}".as_bytes()).expect("utf-8").as_ref(),
            b"a\xed\xa0\xbd\xed\xb8\x80"
        );
        assert!(to_java_bytes(b"\xff").is_none());
    }

    /// Expected texts are what a JDK 17 made of the same bytes.
    #[test]
    fn malformed_text_is_replaced_as_java_does() {
        let check = |raw: &[u8], expected: &str| {
            assert_eq!(String::from_utf8_lossy(&java_text(raw)), expected, "{raw:x?}");
        };
        check(b"\xed\xa0\x80", "\u{fffd}");
        check(b"\xed\xbf\xbf\x41", "\u{fffd}A");
        check(b"\xed\xa0", "\u{fffd}");
        check(b"\xed\x9f\x80\xff\x41", "\u{d7c0}\u{fffd}A");
        check(b"\xed\xa0\x41\x80", "\u{fffd}A\u{fffd}");
        check(b"\xf0\x90\x80\x41", "\u{fffd}A");
        check(b"\xf0\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xf4\x8f\xbf\x41", "\u{fffd}A");
        check(b"\xe0\x80\x41\x80", "\u{fffd}\u{fffd}A\u{fffd}");
        check(b"\xe1\xbf\xe0", "\u{fffd}\u{fffd}");
        check(b"\xc0\x80", "\u{fffd}\u{fffd}");
        check(b"\xc2", "\u{fffd}");
        check(b"\xf5\xbf\xbf\xbf", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check(b"\xed\xea\xa0\x80", "\u{fffd}\u{a800}");
        check(b"\xf1\xbf\x80\xbf", "\u{7f03f}");
        check(b"\xf0\xed\x9f", "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_vector_count_below_minus_one_is_an_empty_list() {
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).strings(), Ok(Some(vec![])));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).strings(), Ok(None));
        assert_eq!(Reader::new(&i32::MAX.to_be_bytes()).strings(), Err(DecodeError::Short));
    }
}
