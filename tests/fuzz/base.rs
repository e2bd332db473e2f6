//! Paths, before any rule accepted them.

use crate::counting::bounded;
use crate::target;
use ringkeeper::base::path;

target!(
    /// The rules of client-protocol §4.2.
    path_rules,
    |input| bounded(input.len(), 0, || {
        let parent = path::parent(input);
        assert_eq!(parent.is_some(), input.contains(&b'/'));
        if let Some(parent) = parent {
            assert!(input.starts_with(parent) || parent == b"/");
        }
        assert!(input.ends_with(path::name(input)));
        if path::is_valid(input) {
            // What may be created has a parent that may be, too, and a name.
            assert!(path::parent_for_create(input).is_some_and(path::is_valid));
            assert!(path::is_valid_for_exists(input));
            assert!(input == b"/" || !path::name(input).is_empty());
        }
        if path::parent_for_delete(input).is_some() {
            assert!(!path::RESERVED.contains(&input));
        }
    })
);
