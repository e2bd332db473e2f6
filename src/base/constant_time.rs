#![forbid(unsafe_code)]
//! Comparison of secrets: takes as long for a wrong first byte as for a wrong last one (reliability M49).

/// Whether `a` and `b` are equal. The time depends on the lengths alone, which are not secret.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0u8, |sum, (x, y)| sum | (x ^ y));
    // Keeps the optimizer from turning the fold into an early exit.
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::equal;

    #[test]
    fn equal_means_every_byte_and_the_length() {
        assert!(equal(b"", b""));
        assert!(equal(b"abc", b"abc"));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!equal(b"abc", other), "{other:?}");
        }
    }
}
