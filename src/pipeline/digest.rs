#![forbid(unsafe_code)]
//! The `digest` scheme (stock `DigestAuthenticationProvider`, client-protocol §8.3): an identity is
//! `user:base64(hash(user:password))`, computed by the server from what the client sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::Digest as _;

use crate::wire::jute::to_java_bytes;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident($hasher:ty), $jca:literal $(, $alias:literal)*;)*) => {
        /// A hash that the JVM calls a message digest (`zookeeper.DigestAuthenticationProvider.digestAlg`).
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub enum DigestAlgorithm { $($(#[$doc])* $name),* }

        impl DigestAlgorithm {
            /// Every one.
            pub const ALL: &'static [DigestAlgorithm] = &[$(DigestAlgorithm::$name),*];

            /// The algorithm of this JCA name; case is ignored, as the JVM does. `None` for one we do not have (MD2).
            pub fn by_name(name: &str) -> Option<DigestAlgorithm> {
                $(if [$jca $(, $alias)*].iter().any(|known| known.eq_ignore_ascii_case(name)) {
                    return Some(DigestAlgorithm::$name);
                })*
                None
            }

            /// Its JCA name.
            pub fn name(self) -> &'static str {
                match self { $(DigestAlgorithm::$name => $jca),* }
            }

            /// The hash of `bytes`.
            pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
                match self { $(DigestAlgorithm::$name => <$hasher>::digest(bytes).to_vec()),* }
            }
        }
    };
}

algorithms! {
    /// The default.
    #[default]
    Sha1(sha1::Sha1), "SHA1", "SHA-1", "SHA";
    /// 128 bits.
    Md5(md5::Md5), "MD5";
    /// 224 bits.
    Sha224(sha2::Sha224), "SHA-224", "SHA224";
    /// 256 bits.
    Sha256(sha2::Sha256), "SHA-256", "SHA256";
    /// 384 bits.
    Sha384(sha2::Sha384), "SHA-384", "SHA384";
    /// 512 bits.
    Sha512(sha2::Sha512), "SHA-512", "SHA512";
    /// SHA-512 cut to 224 bits.
    Sha512To224(sha2::Sha512_224), "SHA-512/224", "SHA512/224";
    /// SHA-512 cut to 256 bits.
    Sha512To256(sha2::Sha512_256), "SHA-512/256", "SHA512/256";
    /// SHA-3, 224 bits.
    Sha3To224(sha3::Sha3_224), "SHA3-224";
    /// SHA-3, 256 bits.
    Sha3To256(sha3::Sha3_256), "SHA3-256";
    /// SHA-3, 384 bits.
    Sha3To384(sha3::Sha3_384), "SHA3-384";
    /// SHA-3, 512 bits.
    Sha3To512(sha3::Sha3_512), "SHA3-512";
}

/// The id that auth data gives: the text before the first `:`, a `:`, and the hash of the whole in base64. Bytes that
/// are not UTF-8 count as U+FFFD, as when the JVM makes a String of them. Encoded as Java writes strings.
pub fn identity(auth: &[u8], algorithm: DigestAlgorithm) -> Box<[u8]> {
    let text = java_text(auth);
    let user = text.split(':').next().unwrap_or_default();
    let id = format!("{user}:{}", BASE64.encode(algorithm.hash(text.as_bytes())));
    to_java_bytes(id.as_bytes()).expect("a String is UTF-8").into()
}

/// Whether an ACL may hold this id: cut at every `:` with trailing empty parts dropped (Java's `split`), two parts
/// remain.
pub fn is_valid_id(id: &[u8]) -> bool {
    let parts: Vec<&[u8]> = id.split(|&b| b == b':').take(4).collect();
    // With four parts or more a third is not empty unless all behind the second are.
    match parts.as_slice() {
        [_, second] => !second.is_empty(),
        [_, second, ..] => !second.is_empty() && id.split(|&b| b == b':').skip(2).all(<[u8]>::is_empty),
        _ => false,
    }
}

/// `new String(bytes, UTF_8)` of the JVM. It replaces malformed input as the Unicode standard recommends, and as Rust
/// does, but for one case: an encoded surrogate is one replacement and not one for each of its bytes.
fn java_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    // What may still follow ED as part of the same surrogate: first A0..BF, then any continuation byte.
    let mut surrogate = 0;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            surrogate = 0;
        }
        text.push_str(chunk.valid());
        match (surrogate, chunk.invalid()) {
            (_, []) => {}
            (2, [0xa0..=0xbf]) => surrogate = 1,
            (1, [0x80..=0xbf]) => surrogate = 0,
            (_, invalid) => {
                text.push(char::REPLACEMENT_CHARACTER);
                surrogate = if invalid == [0xed] { 2 } else { 0 };
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_identity(auth: &[u8], algorithm: DigestAlgorithm, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&identity(auth, algorithm)), expected);
    }

    #[test]
    fn identities_are_those_stock_computes() {
        use DigestAlgorithm::*;
        check_identity(b"alice:secret", Sha1, "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=");
        check_identity(b"super:admin", Sha1, "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        check_identity(b"alice:secret", Sha256, "alice:PRHcR5wI47NodzED1kdmwuQgzjlyeTL88tj02dWZvlk=");
        // Without a colon all of it is the user; without anything the user is empty.
        check_identity(b"foo", Sha1, "foo:C+7Hteo/D9vJXQ3UfzxbwnXaijM=");
        check_identity(b"", Sha1, ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        check_identity(b":", Md5, ":hTrpDwNRMkvXPqYV5kh1Fw==");
    }

    #[test]
    fn algorithms_go_by_their_jca_names() {
        for &algorithm in DigestAlgorithm::ALL {
            assert_eq!(DigestAlgorithm::by_name(algorithm.name()), Some(algorithm));
            assert_eq!(DigestAlgorithm::by_name(&algorithm.name().to_lowercase()), Some(algorithm));
        }
        assert_eq!(DigestAlgorithm::by_name("SHA-1"), Some(DigestAlgorithm::Sha1));
        assert_eq!(DigestAlgorithm::by_name("MD2"), None);
        assert_eq!(DigestAlgorithm::by_name(""), None);
        for (name, bytes) in [("MD5", 16), ("SHA-512/224", 28), ("SHA3-256", 32), ("SHA-384", 48)] {
            assert_eq!(DigestAlgorithm::by_name(name).expect(name).hash(b"").len(), bytes);
        }
    }

    #[test]
    fn an_acl_id_has_a_user_and_a_digest() {
        for valid in ["a:b", ":b", "a:b:", "a:b:::::", ":b:"] {
            assert!(is_valid_id(valid.as_bytes()), "{valid}");
        }
        for invalid in ["", ":", "::", "a", "a:", "a::b", "a:b:c", "::b", "a:b::c", "a:b::::c", "a::"] {
            assert!(!is_valid_id(invalid.as_bytes()), "{invalid}");
        }
    }

    #[test]
    fn malformed_bytes_become_replacements_as_in_a_jvm() {
        for (bytes, expected) in [
            (&b"a\xffb"[..], "a\u{fffd}b"),
            (b"\xc3", "\u{fffd}"),
            (b"\xe2\x82x", "\u{fffd}x"),
            (b"\xf0\x9f\x98\x80", "\u{1f600}"),
            (b"\xf0\x9f\x98", "\u{fffd}"),
            (b"\xf5\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0\xbd:", "\u{fffd}:"),
            (b"\xed\xa0:", "\u{fffd}:"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\x80", "\u{fffd}"),
            (b"\xed\xa0\xa0\xa0", "\u{fffd}\u{fffd}"),
            (b"\xed\xc0\xa0", "\u{fffd}\u{fffd}\u{fffd}"),
            (b"\xedx\xa0", "\u{fffd}x\u{fffd}"),
        ] {
            assert_eq!(java_text(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn a_user_beyond_the_bmp_is_written_as_java_does() {
        let id = identity("\u{1f600}:p".as_bytes(), DigestAlgorithm::Sha1);
        assert!(id.starts_with(b"\xed\xa0\xbd\xed\xb8\x80:"));
    }
}
