#![forbid(unsafe_code)]
//! Session passwords, by stock's formula (`ZooKeeperServer.generatePasswd`, client-protocol §7.4): a function of the
//! id alone, the same on every server, so that a session can move between stock's servers and ours. It is a checksum
//! and not a secret; what may be guessed is only an id.

use crate::base::{SessionId, constant_time};

/// Bytes of a password.
pub const PASSWORD_BYTES: usize = 16;

const SECRET: i64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

/// The password of `session`: four draws of a `java.util.Random` seeded with the id, each in little-endian order.
pub fn password_of(session: SessionId) -> [u8; PASSWORD_BYTES] {
    let mut state = ((session.0 ^ SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_BYTES];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `password` opens `session` (stock `ZooKeeperServer.checkPasswd`). Id 0 is nobody's and never verifies;
/// null (`None`) and other lengths never match.
pub fn verifies(session: SessionId, password: Option<&[u8]>) -> bool {
    let Some(password) = password else { return false };
    session != SessionId::NONE && constant_time::equal(password, &password_of(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn passwords_are_those_a_jvm_computes() {
        for (id, expected) in [
            (0x0000000000000001, "054cc74a37327db215e702e20c73f005"),
            (0x0100000000000000, "f22acd4a97e69d6d20a49bb638eadb38"),
            (0x01000123456789ab, "237710bc62d77989a42e8da77022789d"),
            (0x02000123456789ab, "237710bc62d77989a42e8da77022789d"),
            (0x010000ff12340000, "6ed4cf0e6378550dfcffd1f4e4ae5803"),
        ] {
            assert_eq!(hex(&password_of(SessionId(id))), expected, "{id:#x}");
        }
    }

    #[test]
    fn only_the_whole_password_of_a_real_id_verifies() {
        let id = SessionId(0x0100_0123_4567_89ab);
        let right = password_of(id);
        assert!(verifies(id, Some(&right)));
        assert!(!verifies(id, None));
        assert!(!verifies(id, Some(&[])));
        assert!(!verifies(id, Some(&right[..15])));
        assert!(!verifies(id, Some(&[&right[..], &[0]].concat())));
        for at in 0..PASSWORD_BYTES {
            let mut wrong = right;
            wrong[at] ^= 1;
            assert!(!verifies(id, Some(&wrong)), "byte {at}");
        }
        assert!(!verifies(SessionId::NONE, Some(&password_of(SessionId::NONE))));
    }
}
