#![forbid(unsafe_code)]
//! The stored owner of a znode, which also says what kind it is (stock `EphemeralType`): 0 persistent, the smallest
//! long a container, `0xff` in the top byte a TTL node (when extended types are on), anything else a session.

/// Largest time to live, ms: 40 bits.
pub const TTL_MS_MAX: i64 = (1 << 40) - 1;

const CONTAINER: i64 = i64::MIN;
const TTL_MARK: u64 = 0xff00_0000_0000_0000;

/// What a znode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Lives until deleted.
    Persistent,
    /// Goes with this session.
    Ephemeral(i64),
    /// Goes after its last child.
    Container,
    /// Goes after so many ms without child or write.
    Ttl(i64),
}

impl Kind {
    /// Reads a stored owner. Without `extended` types a TTL mark is an odd session id, as in stock.
    pub fn of(owner: i64, extended: bool) -> Kind {
        match owner {
            0 => Kind::Persistent,
            CONTAINER => Kind::Container,
            _ if extended && (owner as u64) & TTL_MARK == TTL_MARK => Kind::Ttl(owner & TTL_MS_MAX),
            session => Kind::Ephemeral(session),
        }
    }

    /// The owner to store.
    pub fn owner(self) -> i64 {
        match self {
            Kind::Persistent => 0,
            Kind::Ephemeral(session) => session,
            Kind::Container => CONTAINER,
            Kind::Ttl(ttl) => TTL_MARK as i64 | ttl,
        }
    }

    /// Whether it goes with a session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Kind::Ephemeral(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back_from_its_stored_owner() {
        for kind in [Kind::Persistent, Kind::Ephemeral(0x100_0000_0000_0001), Kind::Container, Kind::Ttl(1), Kind::Ttl(TTL_MS_MAX)] {
            assert_eq!(Kind::of(kind.owner(), true), kind);
        }
        assert_eq!(Kind::of(Kind::Ttl(5).owner(), false), Kind::Ephemeral(0xff00_0000_0000_0005_u64 as i64));
    }
}
