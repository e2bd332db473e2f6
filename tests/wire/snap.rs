//! The raw snapshot stream: round trips in chunks of any size, and every way to be malformed.

use crate::recorded::hex;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringkeeper::base::SessionId;
use ringkeeper::wire::peer::snap::*;
use ringkeeper::wire::{Acl, Id};

const LIMITS: SnapLimits = SnapLimits { string_bytes_max: 64, data_bytes_max: 128, acl_bytes_max: 256 };

/// Everything a stream held, owned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Image {
    pub(crate) sessions: Vec<(SessionId, i32)>,
    pub(crate) acls: Vec<(i64, Vec<Acl>)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ended: bool,
}

/// A [`SnapNode`], owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) path: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: i64,
    pub(crate) stat: StatPersisted,
}

impl Image {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = SnapEncoder::begin(self.sessions.len() as u32, &mut out);
        for (session, timeout) in &self.sessions {
            encoder.session(*session, *timeout, &mut out);
        }
        encoder.begin_acls(self.acls.len() as u32, &mut out);
        for (id, acl) in &self.acls {
            encoder.acl(*id, acl, &mut out);
        }
        for Node { path, data, acl, stat } in &self.nodes {
            encoder.node(&SnapNode { path, data: data.as_deref(), acl: *acl, stat: *stat }, &mut out);
        }
        encoder.end(&mut out);
        out
    }

    fn take(&mut self, element: SnapElement<'_>) {
        match element {
            SnapElement::Sessions(_) | SnapElement::Acls(_) => {}
            SnapElement::Session(session, timeout) => self.sessions.push((session, timeout)),
            SnapElement::Acl(id, acl) => self.acls.push((id, acl)),
            SnapElement::Node(SnapNode { path, data, acl, stat }) => {
                self.nodes.push(Node { path: path.to_vec(), data: data.map(<[u8]>::to_vec), acl, stat });
            }
            SnapElement::End => self.ended = true,
        }
    }
}

/// Decodes a stream that comes in chunks whose sizes go round `sizes`; also how many bytes belong to it.
pub(crate) fn decode(
    stream: &[u8],
    sizes: &[usize],
    limits: SnapLimits,
) -> Result<(Image, usize), SnapError> {
    let mut decoder = SnapDecoder::new(limits);
    let mut image = Image::default();
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() && !decoder.is_done() {
        let (mut chunk, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        while let Some(element) = decoder.next(&mut chunk)? {
            image.take(element);
        }
        assert!(chunk.is_empty() || decoder.is_done());
        rest = behind;
    }
    assert_eq!(image.ended, decoder.is_done());
    Ok((image, decoder.taken() as usize))
}

fn node(path: &str) -> Node {
    Node { path: path.into(), data: None, acl: OPEN_ACL, stat: StatPersisted::default() }
}

fn sample() -> Image {
    let stat = StatPersisted {
        czxid: 1,
        mzxid: 2,
        ctime: 3,
        mtime: 4,
        version: 5,
        cversion: 6,
        aversion: 7,
        ephemeral_owner: 8,
        pzxid: 9,
    };
    let odd = Acl {
        perms: 1,
        id: Id { scheme: b"digest"[..].into(), id: b"\xed\xa0\xbd\xed\xb8\x80:x"[..].into() },
    };
    Image {
        sessions: vec![(SessionId(0x100_0000_0000_0001), 30_000), (SessionId(2), -1)],
        acls: vec![(1, vec![Acl::open(), odd]), (2, vec![])],
        nodes: vec![
            node("/"),
            Node { data: Some(vec![]), acl: 1, ..node("/a") },
            Node { path: b"/a/\xff".to_vec(), data: Some(b"data".to_vec()), acl: 2, stat },
        ],
        ended: true,
    }
}

#[test]
fn a_stream_has_stocks_bytes() {
    let nothing = "0000000000000000".repeat(4) + &"00000000".repeat(3) + &"0000000000000000".repeat(2);
    let numbers = "0000000000000001 0000000000000002 0000000000000003 0000000000000004
                   00000005 00000006 00000007 0000000000000008 0000000000000009";
    let open = "0000001f 00000005 776f726c64 00000006 616e796f6e65";
    let expected = format!(
        "00000002 0100000000000001 00007530 0000000000000002 ffffffff
         00000002 0000000000000001 00000002 {open} 00000001 00000006 646967657374 00000008 eda0bdedb8803a78
                  0000000000000002 00000000
         00000000 ffffffff ffffffffffffffff {nothing}
         00000002 2f61 00000000 0000000000000001 {nothing}
         00000004 2f612fff 00000004 64617461 0000000000000002 {numbers}
         00000001 2f 0000000a 42656e5761734865726 5"
    );
    assert_eq!(sample().encode(), hex(&expected));
}

#[test]
fn chunks_of_every_size_give_the_same_image_and_leave_what_follows() {
    let stream = sample().encode();
    let followed = [&stream[..], b"a packet"].concat();
    for size in 1..=followed.len() {
        assert_eq!(decode(&followed, &[size], LIMITS), Ok((sample(), stream.len())), "chunks of {size}");
    }
    // Where one chunk ends and the next begins.
    for cut in 1..stream.len() {
        assert_eq!(decode(&stream, &[cut, stream.len() - cut], LIMITS), Ok((sample(), stream.len())));
    }
}

#[test]
fn a_stream_cut_short_never_ends() {
    let stream = sample().encode();
    for cut in 0..stream.len() {
        let (image, taken) = decode(&stream[..cut], &[cut.max(1)], LIMITS).unwrap();
        assert!(!image.ended);
        assert_eq!(taken, cut);
    }
}

fn check_refused(stream: &str, error: SnapError) {
    let stream = hex(stream);
    for size in [1, stream.len()] {
        assert_eq!(decode(&stream, &[size], LIMITS), Err(error), "{stream:x?} in chunks of {size}");
    }
    let mut decoder = SnapDecoder::new(LIMITS);
    let mut chunk = &stream[..];
    let first = loop {
        if let Err(error) = decoder.next(&mut chunk) {
            break error;
        }
    };
    assert_eq!((decoder.next(&mut &b"\0"[..]), first), (Err(error), error), "an error is final");
}

#[test]
fn a_malformed_stream_is_refused() {
    let length = |length, limit| SnapError::Length { length, limit };
    let acl = "00000000 00000001 0000000000000001";
    check_refused(&format!("{acl} ffffffff"), SnapError::Null);
    check_refused(&format!("{acl} 00000001 0000001f ffffffff"), SnapError::Null);
    check_refused(&format!("{acl} 00000001 0000001f 00000000 ffffffff"), SnapError::Null);
    check_refused(&format!("{acl} 00000001 0000001f 00000041"), length(65, 64));
    check_refused(&format!("{acl} 00000001 0000001f fffffffe"), length(-2, 64));
    // Each entry is short enough; of the list 21 fit into 256 bytes, and the 22nd's scheme does not.
    let entries = "0000001f 00000000 00000000".repeat(22);
    check_refused(&format!("{acl} 7fffffff {entries}"), length(264, 256));
    let nodes = "00000000 00000000";
    check_refused(&format!("{nodes} ffffffff"), SnapError::Null);
    check_refused(&format!("{nodes} 00000041"), length(65, 64));
    check_refused(&format!("{nodes} 80000000"), length(-0x8000_0000, 64));
    check_refused(&format!("{nodes} 00000000 00000081"), length(129, 128));
    check_refused(&format!("{nodes} 00000000 fffffffe"), length(-2, 128));
    check_refused(&format!("{nodes} 00000001 2f 0000000a 42656e57617348657265"), SnapError::NoRoot);
    check_refused(&format!("{nodes} 00000002 2f61 ffffffff {}", "00".repeat(68)), SnapError::NoRoot);
    let root = format!("{nodes} 00000000 ffffffff {}", "00".repeat(68));
    check_refused(&format!("{root} 00000001 2f 0000000a 42656e57617348657266"), SnapError::Signature);
    check_refused(&format!("{root} 00000001 2f 0000000b 42656e57617348657265"), SnapError::Signature);
}

#[test]
fn what_an_image_names_is_the_consumers_to_judge() {
    // Odd paths, one twice, and an ACL that nobody listed come out as they are.
    let nodes =
        vec![node("/"), node("/a/../b"), node("a"), node("/a/../b"), Node { acl: 77, ..node("/deep/er") }];
    let image = Image { nodes, ended: true, ..Image::default() };
    let (decoded, _) = decode(&image.encode(), &[7], LIMITS).unwrap();
    assert_eq!(decoded, image);
    // So does a count that nothing follows, before anything is kept for it.
    let mut decoder = SnapDecoder::new(LIMITS);
    let mut chunk = &hex("7fffffff")[..];
    assert_eq!(decoder.next(&mut chunk), Ok(Some(SnapElement::Sessions(0x7fff_ffff))));
    assert_eq!(decoder.next(&mut chunk), Ok(None));
    // Counts below zero are none, as stock counts down.
    let (image, _) = decode(&hex("fffffffe ffffffff 00000000"), &[3], LIMITS).unwrap();
    assert_eq!(image, Image::default());
}

#[test]
#[should_panic(expected = "sessions announced and not written")]
fn the_encoder_holds_its_caller_to_what_was_announced() {
    let mut out = Vec::new();
    SnapEncoder::begin(1, &mut out).begin_acls(0, &mut out);
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn stat() -> impl Strategy<Value = StatPersisted> {
    (any::<[i64; 6]>(), any::<[i32; 3]>()).prop_map(|(longs, ints)| StatPersisted {
        czxid: longs[0],
        mzxid: longs[1],
        ctime: longs[2],
        mtime: longs[3],
        version: ints[0],
        cversion: ints[1],
        aversion: ints[2],
        ephemeral_owner: longs[4],
        pzxid: longs[5],
    })
}

prop_compose! {
    fn any_node(root: bool)(
        name in bytes(20), data in option::of(bytes(60)), acl in any::<i64>(), stat in stat(),
    ) -> Node {
        Node { path: if root { b"/".to_vec() } else { [b"/n", &name[..]].concat() }, data, acl, stat }
    }
}

prop_compose! {
    fn image()(
        sessions in vec((any::<i64>(), any::<i32>()), 0..4),
        acls in vec((0..i64::MAX, vec((any::<i32>(), bytes(9), bytes(9)), 0..4)), 0..4),
        root in any_node(true),
        nodes in vec(any_node(false), 0..5),
    ) -> Image {
        let acl = |(perms, scheme, id): (i32, Vec<u8>, Vec<u8>)| {
            Acl { perms, id: Id { scheme: scheme.into(), id: id.into() } }
        };
        Image {
            sessions: sessions.into_iter().map(|(session, timeout)| (SessionId(session), timeout)).collect(),
            acls: acls.into_iter().map(|(id, list)| (id, list.into_iter().map(acl).collect())).collect(),
            nodes: std::iter::once(root).chain(nodes).collect(),
            ended: true,
        }
    }
}

proptest! {
    #[test]
    fn any_image_round_trips_in_any_chunks(image in image(), sizes in vec(1usize..90, 1..6)) {
        let stream = image.encode();
        prop_assert_eq!(decode(&stream, &sizes, LIMITS), Ok((image, stream.len())));
    }

    #[test]
    fn any_bytes_decode_alike_in_any_chunks(
        image in image(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        sizes in vec(1usize..90, 1..6),
    ) {
        let mut stream = image.encode();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let whole = decode(&stream, &[stream.len()], LIMITS);
        prop_assert_eq!(&decode(&stream, &sizes, LIMITS), &whole);
        prop_assert_eq!(&decode(&stream, &[1], LIMITS), &whole);
    }
}
