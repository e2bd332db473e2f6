#![forbid(unsafe_code)]
//! Hashes of a path and of all its ancestors in one pass. A path may have half a million components, so hashing each
//! ancestor on its own would be quadratic.

use ahash::RandomState;

/// Hashes paths; seeded at start so that clients cannot choose collisions, given in simulation. Cores that share an
/// [`InterestTable`](super::InterestTable) share its hasher.
#[derive(Clone, Debug)]
pub struct PathHasher {
    state: RandomState,
    root: u64,
}

/// An ancestor of a path, or the path itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix<'a> {
    /// Its bytes.
    pub path: &'a [u8],
    /// Its hash.
    pub hash: u64,
}

impl PathHasher {
    /// A hasher for this seed.
    pub fn new(seed: u64) -> PathHasher {
        let state = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x9e37_79b9_7f4a_7c15);
        let root = state.hash_one(0u8);
        PathHasher { state, root }
    }

    /// The hash of `path`. Total: watches may be set on bytes that are no path.
    pub fn hash(&self, path: &[u8]) -> u64 {
        let Some(below_root) = path.strip_prefix(b"/").filter(|below| !below.is_empty()) else {
            return if path == b"/" { self.root } else { self.join(!self.root, path) };
        };
        below_root.split(|&b| b == b'/').fold(self.root, |hash, component| self.join(hash, component))
    }

    /// `/`, then each further ancestor of the absolute `path`, at last `path` itself.
    pub fn prefixes<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = Prefix<'a>> {
        debug_assert!(path.first() == Some(&b'/'), "changes happen at absolute paths");
        let root = Prefix { path: path.get(..1).unwrap_or_default(), hash: self.root };
        let below_root = path.get(1..).filter(|below| !below.is_empty());
        let (mut hash, mut end) = (self.root, 0);
        let descend = move |component: &[u8]| {
            hash = self.join(hash, component);
            end += component.len() + 1;
            Prefix { path: &path[..end], hash }
        };
        let components = below_root.into_iter().flat_map(|below| below.split(|&b| b == b'/'));
        std::iter::once(root).chain(components.map(descend))
    }

    /// The hashes of the parent and of `path`; the root counts as its own parent.
    pub fn parent_and_self(&self, path: &[u8]) -> (u64, u64) {
        self.prefixes(path).fold((self.root, self.root), |(_, parent), prefix| (parent, prefix.hash))
    }

    fn join(&self, parent: u64, component: &[u8]) -> u64 {
        (parent.rotate_left(5) ^ self.state.hash_one(component)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_the_hash_it_has_alone() {
        let hasher = PathHasher::new(7);
        for (path, expected) in
            [("/", &["/"][..]), ("/a", &["/", "/a"]), ("/a/bc/d", &["/", "/a", "/a/bc", "/a/bc/d"])]
        {
            let prefixes: Vec<_> = hasher.prefixes(path.as_bytes()).collect();
            let paths: Vec<_> = prefixes.iter().map(|p| String::from_utf8_lossy(p.path)).collect();
            assert_eq!(paths, expected);
            for Prefix { path, hash } in prefixes {
                assert_eq!(hash, hasher.hash(path), "{path:?}");
            }
        }
        assert_eq!(hasher.parent_and_self(b"/a/b"), (hasher.hash(b"/a"), hasher.hash(b"/a/b")));
        assert_eq!(hasher.parent_and_self(b"/a"), (hasher.hash(b"/"), hasher.hash(b"/a")));
        assert_eq!(hasher.parent_and_self(b"/"), (hasher.hash(b"/"), hasher.hash(b"/")));
    }

    #[test]
    fn bytes_that_are_no_path_have_hashes_and_paths_of_the_same_parts_differ() {
        let hasher = PathHasher::new(7);
        let texts = ["", "/", "a", "//", "/a", "/a/", "/a/b", "/b/a", "/ab", "\0"];
        let mut hashes: Vec<_> = texts.iter().map(|t| hasher.hash(t.as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), texts.len());
        assert_ne!(PathHasher::new(8).hash(b"/a"), hasher.hash(b"/a"));
    }
}
