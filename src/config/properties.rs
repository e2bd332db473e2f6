#![forbid(unsafe_code)]
//! Java's properties syntax, as `java.util.Properties.load` reads it, with the line of each pair kept so that an error
//! can name it (reliability M65).
//!
//! What Java does and a reader might not expect: a pair is split at the first unescaped `=`, `:` or blank; a comment
//! line cannot be continued, and a continuation line cannot be a comment; an unknown escape stands for its character;
//! a backslash at the very end of the file is dropped (a lone one makes an empty pair in Java, and none here); `\uXXXX` are UTF-16 units, so that two of them can make one
//! character. All of it is held against the JDK's own answers in the tests. The crate `java-properties` was tried and
//! drops a last line that ends in a backslash, and refuses surrogate pairs.
//!
//! Two liberties: bytes that are valid UTF-8 are read as such (Java reads ISO-8859-1, which stays the fallback), and
//! a byte order mark is skipped where Java makes it part of the first key.

/// One pair, trimmed as `QuorumPeerConfig.parseProperties` trims, with the line it begins on (the first is 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The key, unescaped.
    pub(super) key: String,
    /// The value, unescaped; empty if there was none.
    pub(super) value: String,
    /// Line of the file on which the pair begins.
    pub(super) line: u32,
}

/// The one thing that is not properties syntax: `\u` without four hex digits. Java refuses the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedEscape {
    /// Line of the file on which the pair with that escape begins.
    pub(super) line: u32,
}

/// Reads a whole file. Every pair in file order, duplicates included.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Pair>, MalformedEscape> {
    let text = decode(bytes);
    let mut pairs = Vec::new();
    for (line, logical) in logical_lines(&text) {
        pairs.push(split(&logical, line)?);
    }
    Ok(pairs)
}

fn decode(bytes: &[u8]) -> Vec<char> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().collect(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Joins continued lines and drops comments and blank lines: `Properties.LineReader`.
fn logical_lines(text: &[char]) -> Vec<(u32, Vec<char>)> {
    let mut lines = Vec::new();
    let mut logical: Vec<char> = Vec::new();
    let mut begun_on = 0;
    for (natural, number) in natural_lines(text).into_iter().zip(1..) {
        let content = natural.iter().position(|&c| !is_blank(c)).map_or(&[][..], |at| &natural[at..]);
        // Whether it is a comment is asked wherever nothing was gathered yet, also after a lone backslash.
        if logical.is_empty() {
            if content.is_empty() || matches!(content[0], '#' | '!') {
                continue;
            }
            begun_on = number;
        }
        logical.extend_from_slice(content);
        let continued = content.iter().rev().take_while(|&&c| c == '\\').count() % 2 == 1;
        if continued {
            logical.pop();
        } else {
            lines.push((begun_on, std::mem::take(&mut logical)));
        }
    }
    if !logical.is_empty() {
        lines.push((begun_on, logical));
    }
    lines
}

/// Lines end in CR, LF or CR LF.
fn natural_lines(text: &[char]) -> Vec<&[char]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|&c| c == '\n' || c == '\r') {
        lines.push(&rest[..end]);
        let both = rest[end] == '\r' && rest.get(end + 1) == Some(&'\n');
        rest = &rest[end + if both { 2 } else { 1 }..];
    }
    lines.push(rest);
    lines
}

fn split(logical: &[char], line: u32) -> Result<Pair, MalformedEscape> {
    let mut escaped = false;
    let mut key_end = logical.len();
    for (at, &c) in logical.iter().enumerate() {
        if !escaped && (is_blank(c) || c == '=' || c == ':') {
            key_end = at;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let (key, mut value) = logical.split_at(key_end);
    let mut separator_seen = false;
    while let Some((&c, rest)) = value.split_first() {
        let separator = !separator_seen && (c == '=' || c == ':');
        if !separator && !is_blank(c) {
            break;
        }
        separator_seen |= separator;
        value = rest;
    }
    Ok(Pair { key: unescape(key, line)?, value: unescape(value, line)?, line })
}

fn unescape(text: &[char], line: u32) -> Result<String, MalformedEscape> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut buffer = [0; 2];
    let mut rest = text.iter();
    while let Some(&c) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let mut unit = 0;
                    for _ in 0..4 {
                        let digit =
                            rest.next().and_then(|c| c.to_digit(16)).ok_or(MalformedEscape { line })?;
                        unit = unit << 4 | digit as u16;
                    }
                    units.push(unit);
                    continue;
                }
                Some(&other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    // String.trim: everything up to the blank goes, control characters too.
    Ok(String::from_utf16_lossy(&units).trim_matches(|c| c <= ' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is what `java.util.Properties` of JDK 17 answered for the same bytes, trimmed.
    fn check(input: &[u8], expected: &[(&str, &str, u32)]) {
        let pairs = parse(input).expect("well-formed input");
        let found: Vec<_> = pairs.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(found, expected, "for {:?}", String::from_utf8_lossy(input));
    }

    #[test]
    fn reads_what_java_reads() {
        check(b"tickTime=2000", &[("tickTime", "2000", 1)]);
        check(
            b"a: 1\nb 2\nc\t=\t3\n d  :  4  \n",
            &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 4)],
        );
        check(
            b"a==1\nb=:1\nc =: 1\nd = = 1",
            &[("a", "=1", 1), ("b", ":1", 2), ("c", ": 1", 3), ("d", "= 1", 4)],
        );
        check(b"key\nother=\n=nokey", &[("key", "", 1), ("other", "", 2), ("", "nokey", 3)]);
        check(b"# no\n! no\n   # no\na=b # yes\n", &[("a", "b # yes", 4)]);
        check(b"a\\ b=c\\=d\na\\:b\\=c d", &[("a b", "c=d", 1), ("a:b=c", "d", 2)]);
        check(b"p=C\\\\temp\\x\\t1", &[("p", "C\\tempx\t1", 1)]);
        check(b"u=\\u0041\\uD83D\\uDE00z", &[("u", "A\u{1f600}z", 1)]);
    }

    #[test]
    fn joins_continued_lines_as_java_does() {
        check(b"a=1,\\\n   2,\\\r\n   3\nb=4", &[("a", "1,2,3", 1), ("b", "4", 4)]);
        check(b"# comment \\\na=1", &[("a", "1", 2)]);
        check(b"a=1\\\n# no comment\n", &[("a", "1# no comment", 1)]);
        check(b"a=1\\\n\nb=2", &[("a", "1", 1), ("b", "2", 3)]);
        check(b"a=1\\\\\nb=2", &[("a", "1\\", 1), ("b", "2", 2)]);
        check(b"a=1\\", &[("a", "1", 1)]);
        check(b"\\\n\nb=2", &[("b", "2", 3)]);
        check(b"\\\nb=2", &[("b", "2", 2)]);
        check(b"\\\n#b=2\nc=3", &[("c", "3", 3)]);
    }

    #[test]
    fn takes_every_line_end_mark_and_encoding_users_have() {
        check(b"a=1\r\nb=2\rc=3\n\r\nd=4", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 5)]);
        check(b"\xef\xbb\xbftickTime=1", &[("tickTime", "1", 1)]);
        check("dataDir=/srv/zäh".as_bytes(), &[("dataDir", "/srv/zäh", 1)]);
        check(b"dataDir=/srv/z\xe4h", &[("dataDir", "/srv/zäh", 1)]);
        check(b"a=1   \t\x0c\nb=2\x00\x01", &[("a", "1", 1), ("b", "2", 2)]);
        check(b"a=1\na=2", &[("a", "1", 1), ("a", "2", 2)]);
        check(b"", &[]);
        check(b"\n \n\t\n", &[]);
    }

    #[test]
    fn refuses_a_malformed_unicode_escape_with_its_line() {
        for bad in ["a=\\u12", "a=\\uzzzz", "a=\\u", "\\u1=b"] {
            let text = format!("ok=1\n{bad}\n");
            assert_eq!(parse(text.as_bytes()), Err(MalformedEscape { line: 2 }), "for {bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_escapes_and_line_ends_are_read_or_refused(text in "[\\\\u0a=: \t\r\n#!b]{0,60}") {
            if let Ok(pairs) = parse(text.as_bytes()) {
                proptest::prop_assert!(pairs.windows(2).all(|pair| pair[0].line < pair[1].line));
            }
        }
    }
}
