#![forbid(unsafe_code)]
//! Znode paths: bytes, absolute, `/`-separated. The rules A to D of client-protocol §4.2, which stock keeps in
//! `PathUtils.validatePath`, `PrepRequestProcessor.validatePathForCreate`, `getParentPathAndValidate` and
//! `FinalRequestProcessor` (exists). A path that is not valid UTF-8 counts as holding an illegal character
//! (reliability M19): two names must never merge by replacement.

/// A path as stored: any bytes until a rule accepted them.
pub type ZnodePath = Box<[u8]>;

/// The four nodes that cannot be deleted.
pub const RESERVED: [&[u8]; 4] = [b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"];

/// The tree of built-in nodes, excluded from the digest.
pub const ZOOKEEPER_PREFIX: &[u8] = b"/zookeeper/";

/// Parent of `path`: everything before the last `/`, `/` for a child of the root. `None` without any `/`.
/// `b"/"` gives `b"/"`.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|&b| b == b'/')? {
        0 => Some(b"/"),
        at => Some(&path[..at]),
    }
}

/// The last component: everything after the last `/`.
pub fn name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => &path[at + 1..],
        None => path,
    }
}

/// Rule A: holds a `/`, and no NUL. Gives the parent.
pub fn parent_for_create(path: &[u8]) -> Option<&[u8]> {
    if path.contains(&0) { None } else { parent(path) }
}

/// Rule B (`PathUtils.validatePath`).
pub fn is_valid(path: &[u8]) -> bool {
    if path == b"/" {
        return true;
    }
    if path.first() != Some(&b'/') || path.last() == Some(&b'/') {
        return false;
    }
    let Ok(text) = std::str::from_utf8(path) else { return false };
    if text[1..].split('/').any(|component| matches!(component, "" | "." | "..")) {
        return false;
    }
    !text.chars().any(is_illegal)
}

/// Rule C: holds a `/`, no NUL, not one of the reserved nodes. Gives the parent.
pub fn parent_for_delete(path: &[u8]) -> Option<&[u8]> {
    if RESERVED.contains(&path) { None } else { parent_for_create(path) }
}

/// Rule D: no NUL.
pub fn is_valid_for_exists(path: &[u8]) -> bool {
    !path.contains(&0)
}

/// Characters beyond the BMP travel as surrogates in stock, which rule B refuses.
fn is_illegal(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_b_accepts_and_refuses_what_stock_does() {
        for good in ["/", "/a", "/...", "/.a", "/a..", "/a b/c", "/\u{fdd0}", "/ü/ß"] {
            assert!(is_valid(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//a",
            "/a//b",
            "/a/./b",
            "/..",
            "/a\u{1}",
            "/\u{7f}",
            "/\u{85}",
            "/\u{e000}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_valid(b"/\xff"));
        assert!(!is_valid(b"/\xed\xa0\xbd\xed\xb8\x80"));
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(parent(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a"), Some(&b"/"[..]));
        assert_eq!(parent(b"a"), None);
        assert_eq!(name(b"/a/b"), b"b");
        assert_eq!(parent_for_delete(b"/zookeeper/quota"), None);
        assert_eq!(parent_for_delete(b"/a/"), Some(&b"/a"[..]));
        assert_eq!(parent_for_create(b"/a\0"), None);
    }
}
