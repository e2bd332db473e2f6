#![forbid(unsafe_code)]
//! Random requests. Prepared in batches and then applied, they must leave exactly what they leave one by one: the same
//! txns, byte for byte and digests included, and a tree whose digest is that of one built from its znodes.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Create { path: usize, flags: i32, op: OpCode },
    Delete { path: usize, version: i32 },
    Set { path: usize, version: i32, bytes: usize },
    SetAcl { path: usize, version: i32, perms: i32 },
    Check { path: usize, version: i32 },
    RemoveContainer { path: usize },
    Multi(Vec<Op>),
    Close,
    Open,
}

const PATHS: [&str; 9] =
    ["/", "/a", "/a/b", "/a/b/c", "/a/s-", "/d", "/d/s-", "/zookeeper/quota/a", "/a/s-0000000001"];
const DATA: &[u8] = &[7; 40];

fn path() -> impl Strategy<Value = usize> {
    0..PATHS.len()
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 2 => Just(0), 1 => Just(1), 1 => Just(2)]
}

fn part() -> impl Strategy<Value = Op> {
    let ops = prop_oneof![
        4 => Just(OpCode::Create),
        1 => Just(OpCode::Create2),
        1 => Just(OpCode::CreateContainer),
    ];
    prop_oneof![
        6 => (path(), 0..4, ops).prop_map(|(path, flags, op)| Op::Create { path, flags, op }),
        3 => (path(), version()).prop_map(|(path, version)| Op::Delete { path, version }),
        3 => (path(), version(), 0..DATA.len())
            .prop_map(|(path, version, bytes)| Op::Set { path, version, bytes }),
        1 => (path(), version()).prop_map(|(path, version)| Op::Check { path, version }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let rights = prop_oneof![4 => Just(perms::ALL), 1 => Just(perms::ALL ^ perms::CREATE)];
    prop_oneof![
        10 => part(),
        3 => prop::collection::vec(part(), 0..5).prop_map(Op::Multi),
        1 => (path(), version(), rights)
            .prop_map(|(path, version, perms)| Op::SetAcl { path, version, perms }),
        1 => path().prop_map(|path| Op::RemoveContainer { path }),
        1 => Just(Op::Close),
        1 => Just(Op::Open),
    ]
}

fn part_of(op: &Op) -> MultiOp<'_> {
    match *op {
        Op::Create { path, flags, op } => MultiOp::Create(op, record(PATHS[path], flags)),
        Op::Delete { path, version } => m_delete(PATHS[path], version),
        Op::Set { path, version, bytes } => m_set(PATHS[path], &DATA[..bytes], version),
        Op::Check { path, version } => m_check(PATHS[path], version),
        _ => unreachable!("`part` makes no other"),
    }
}

fn request_of(op: &Op) -> Request<'_> {
    match op {
        Op::Multi(ops) => Request::Multi(ops.iter().map(part_of).collect()),
        Op::SetAcl { path, version, perms } => set_acl(PATHS[*path], *perms, *version),
        Op::RemoveContainer { path } => Request::DeleteContainer(Some(PATHS[*path].as_bytes())),
        Op::Close => Request::CloseSession,
        Op::Open => Request::CreateSession(5_000),
        op => match part_of(op) {
            MultiOp::Create(op, create) => Request::Create(op, create),
            MultiOp::Delete(delete) => Request::Delete(delete),
            MultiOp::SetData(set) => Request::SetData(set),
            // Alone a check is no request.
            MultiOp::Check(check) => Request::Multi(vec![MultiOp::Check(check)]),
        },
    }
}

/// Who asks: two sessions that may close and open again, and one that never was. The cleaner asks for itself.
fn asker(op: &Op, who: u8) -> SessionId {
    match (op, who) {
        (Op::RemoveContainer { .. }, _) => SessionId::NONE,
        (Op::Close | Op::Open, _) => [ONE, TWO][usize::from(who % 2)],
        (_, 0) => NEVER,
        (_, who) => [ONE, TWO][usize::from(who % 2)],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batched_and_one_by_one_leave_the_same(
        ops in prop::collection::vec((op(), 0u8..12, prop::bool::weighted(0.2)), 1..60),
        // Some of those refuse most of what is asked.
        payload_bytes_max in prop_oneof![3 => Just(1 << 20), 1 => super::super::PAYLOAD_BYTES_MIN..300usize]
    ) {
        let settings = Settings { payload_bytes_max, ..settings() };
        let mut batched = Rig::with(settings.clone());
        let mut single = Rig::with(settings.clone());
        for (op, who, ends_batch) in &ops {
            let (request, session) = (request_of(op), asker(op, *who));
            batched.prepare(session, &request);
            single.run(session, &request);
            // What a session may is asked of the sessions themselves, which no request behind its opening or its end sees
            // pending: a server tells the client first.
            if *ends_batch || matches!(op, Op::Open | Op::Close) {
                batched.apply_all();
            }
        }
        batched.apply_all();
        prop_assert_eq!(&batched.log, &single.log);
        prop_assert!(batched.log.iter().all(|payload| payload.len() <= payload_bytes_max));
        let (image, other) = (batched.image(), single.image());
        prop_assert_eq!(&image.znodes, &other.znodes);
        // Checks the digest of a tree made from nothing but the znodes.
        let mut rebuilt = Rig::from_image(&image, settings);
        prop_assert_eq!(rebuilt.image().digest, image.digest);
        let owned = |image: &Image| image.sessions.ephemerals().cloned().collect::<Vec<_>>();
        let expected: Vec<_> = image.znodes.iter().filter(|z| z.stat.owner > 0).map(|z| &z.path[..]).collect();
        let mut found: Vec<_> = owned(&image).iter().map(|(_, path)| path.to_vec()).collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected, "the index of ephemerals is what the znodes say");
    }
}
