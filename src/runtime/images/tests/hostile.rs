#![forbid(unsafe_code)]
//! Streams that nobody honest sends (reliability M59), and those that stock's leaders may.

use super::*;
use crate::wire::peer::snap::{OPEN_ACL, SnapEncoder, SnapNode, StatPersisted};

/// A stream of these sessions, lists and nodes, each with its ACL's id.
fn stream(sessions: &[i64], acls: &[(i64, Vec<Acl>)], nodes: &[(&str, i64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = SnapEncoder::begin(sessions.len() as u32, &mut out);
    for session in sessions {
        encoder.session(SessionId(*session), 10_000, &mut out);
    }
    encoder.begin_acls(acls.len() as u32, &mut out);
    for (id, acl) in acls {
        encoder.acl(*id, acl, &mut out);
    }
    for (path, acl) in nodes {
        let stat = StatPersisted::default();
        encoder.node(&SnapNode { path: path.as_bytes(), data: Some(b"d"), acl: *acl, stat }, &mut out);
    }
    encoder.end(&mut out);
    out
}

fn nodes(paths: &[&str]) -> Vec<u8> {
    let nodes: Vec<_> = paths.iter().map(|path| (*path, OPEN_ACL)).collect();
    stream(&[], &[], &nodes)
}

fn check_bad(stream: &[u8], says: &str) {
    let mut host = Host::with(|settings| settings.intake.image_bytes_max = 1 << 20);
    // Whole, and in a few hundred pieces.
    for size in [1 << 20, 1 + stream.len() / 300] {
        host.images.receive(LINK, Zxid(100));
        match host.feed(LINK, stream, || size) {
            ImageReport::Bad { why, .. } => assert!(why.contains(says), "{why:?} instead of {says:?}"),
            report => panic!("{} instead of {says:?}", words(&report)),
        }
        // What is still on the link is nobody's.
        host.images.bytes(LINK, vec![0; 10]);
        host.await_none_alive();
    }
}

#[test]
fn m59_an_image_out_of_shape_is_bad() {
    check_bad(&nodes(&["/", "/a/b", "/a"]), "missing");
    check_bad(&nodes(&["/", "/a", "/b", "/a"]), "twice");
    check_bad(&nodes(&["/", "/zookeeper", "/zookeeper"]), "twice");
    check_bad(&nodes(&["/", "/zookeeper/quota"]), "missing");
    for path in ["/a/../b", "/.", "/a//b", "/a/", "a", "/a\0b", "/\u{7f}"] {
        check_bad(&nodes(&["/", path]), "not a path");
    }
    check_bad(&stream(&[0], &[], &[("/", OPEN_ACL)]), "session 0");
    let mut wrong_end = nodes(&["/", "/a"]);
    *wrong_end.last_mut().unwrap() ^= 1;
    check_bad(&wrong_end, "signature");
    check_bad(&nodes(&["/"])[..8].iter().copied().chain([0xff; 8]).collect::<Vec<u8>>(), "null");
    let root = nodes(&["/"]);
    let root = &root[..root.len() - 19];
    check_bad(&[root, &[0xff, 0xff, 0xff, 0xfe]].concat(), "length -2");
    check_bad(&[root, &[0, 0, 0, 2, b'/', b'a', 0x7f, 0xff, 0xff, 0xff]].concat(), "length");
    check_bad(&[root, &[0x7f, 0xff, 0xff, 0xff]].concat(), "length");
}

#[test]
fn m59_an_image_without_end_is_bad_before_it_fills_the_memory() {
    // 2^31-1 sessions announced, and as many as fit: what there is counts, not what is announced.
    let mut sessions = 0x7fff_ffffi32.to_be_bytes().to_vec();
    for n in 1..10_000i64 {
        sessions.extend(n.to_be_bytes());
        sessions.extend([0, 0, 1, 0]);
    }
    check_bad(&sessions, "memory");
    let list = vec![Acl { perms: 1, id: Id::new("", "") }; 1000];
    let acls: Vec<_> = (1..100).map(|id| (id, list.clone())).collect();
    check_bad(&stream(&[], &acls, &[("/", OPEN_ACL)]), "memory");
    let wide: Vec<String> = (0..10_000).map(|n| format!("/{n}")).collect();
    let wide: Vec<&str> = std::iter::once("/").chain(wide.iter().map(String::as_str)).collect();
    check_bad(&nodes(&wide), "memory");
    // Deep: each path is longer than the one before.
    let deep: Vec<String> = (1..2000).map(|n| "/d".repeat(n)).collect();
    let deep: Vec<&str> = std::iter::once("/").chain(deep.iter().map(String::as_str)).collect();
    check_bad(&nodes(&deep), "memory");
}

#[test]
fn a_deep_tree_that_fits_is_taken() {
    let deep: Vec<String> = (1..2000).map(|n| "/d".repeat(n)).collect();
    let deep: Vec<&str> = std::iter::once("/").chain(deep.iter().map(String::as_str)).collect();
    let mut host = Host::new();
    assert!(expect_received(host.feed_whole(&nodes(&deep))).is_empty());
    host.images.drop_image(LINK);
    host.await_none_alive();
}

#[test]
fn an_image_cut_short_is_never_received() {
    let stream = nodes(&["/", "/a", "/a/b"]);
    let mut host = Host::new();
    for cut in 0..stream.len() {
        let report = host.feed_whole(&stream[..cut]);
        assert!(matches!(report, ImageReport::Taken { .. }), "{} after {cut} bytes", words(&report));
        host.images.drop_image(LINK);
    }
    host.await_none_alive();
}

#[test]
fn a_zxid_that_no_state_has_is_bad() {
    let mut host = Host::new();
    host.images.receive(LINK, Zxid(-1));
    assert!(matches!(host.next(), ImageReport::Bad { .. }));
    host.await_none_alive();
}

#[test]
fn an_acl_that_nobody_listed_denies_everything() {
    // As stock's fuzzy images may have it (ZOOKEEPER-4846); one that is listed and open ones are as they are.
    let listed = vec![Acl { perms: 3, id: Id::new("digest", "a:b") }];
    let stream = stream(&[5], &[(1, listed.clone())], &[("/", -1), ("/a", 1), ("/b", 77), ("/c", -1)]);
    let mut host = Host::new();
    expect_received(host.feed_whole(&stream));
    let (_, mut state) = expect_installed(host.install(Zxid(100), Vec::new()));
    let mut acl_of = |path: &str| state.tree().get(path.as_bytes()).unwrap().acl().to_vec();
    assert_eq!(acl_of("/a"), listed);
    assert_eq!(acl_of("/b"), [Acl { perms: 0, ..Acl::open() }]);
    assert_eq!(acl_of("/c"), [Acl::open()]);
}

#[test]
fn an_image_with_nothing_in_it_is_an_empty_database() {
    let mut host = Host::new();
    expect_received(host.feed_whole(&nodes(&["/"])));
    let (_, mut state) = expect_installed(host.install(Zxid(100), Vec::new()));
    for path in ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert!(state.tree().get(path.as_bytes()).is_some(), "{path}");
    }
}
