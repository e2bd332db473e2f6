#![forbid(unsafe_code)]
//! Random txns against a sorted map, read back at every zxid that a view still stands at.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::wire::Stat;

#[derive(Clone, Debug)]
enum Change {
    Create { path: String, data: Option<Vec<u8>>, acl: u8, owner: i64, parent_cversion: i32, raise: bool },
    Delete { path: String },
    SetData { path: String, data: Option<Vec<u8>>, version: i32 },
    SetAcl { path: String, acl: u8, version: i32 },
    SetStats { path: String, data: Vec<u8> },
}

#[derive(Clone, Debug)]
enum Step {
    /// One txn, a multi if it has several changes.
    Txn(Vec<Change>),
    /// A view is pinned and kept; the oldest goes when there are more than three.
    Pin,
    /// An anchor is set and kept, and every state from there on compared; the oldest of three goes.
    Anchor,
    /// All views go and grace periods end.
    Settle,
}

#[derive(Clone, PartialEq, Debug)]
struct Znode {
    data: Option<Vec<u8>>,
    acl: u8,
    stat: StoredStat,
}

type Model = BTreeMap<String, Znode>;

fn lists(number: u8) -> Vec<Acl> {
    if number == 0 { acl_open().to_vec() } else { acl(&number.to_string()) }
}

fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap()]
}

fn apply_to_model(model: &mut Model, zxid: i64, change: &Change) -> Result<(), TreeError> {
    match change {
        Change::Create { path, data, acl, owner, parent_cversion, raise } => {
            let above = model.get_mut(parent(path)).ok_or(TreeError::NoNode)?;
            let raised = if *parent_cversion == -1 { above.stat.cversion + 1 } else { *parent_cversion };
            let up = raised > above.stat.cversion;
            let raise_parent = |above: &mut Znode| {
                if up {
                    (above.stat.cversion, above.stat.pzxid) = (raised, zxid);
                }
            };
            if model.contains_key(path) {
                model.get_mut(path).unwrap().acl = *acl;
                if *raise {
                    raise_parent(model.get_mut(parent(path)).unwrap());
                }
                return Err(TreeError::NodeExists);
            }
            raise_parent(model.get_mut(parent(path)).unwrap());
            let stat = StoredStat {
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ctime: zxid * 10,
                mtime: zxid * 10,
                owner: *owner,
                ..StoredStat::default()
            };
            model.insert(path.clone(), Znode { data: data.clone(), acl: *acl, stat });
        }
        Change::Delete { path } => {
            let above = model.get_mut(parent(path)).ok_or(TreeError::NoNode)?;
            above.stat.pzxid = above.stat.pzxid.max(zxid);
            model.remove(path).ok_or(TreeError::NoNode)?;
            let below = format!("{path}/");
            model.retain(|other, _| !other.starts_with(&below));
        }
        Change::SetData { path, data, version } => {
            let znode = model.get_mut(path).ok_or(TreeError::NoNode)?;
            znode.data.clone_from(data);
            (znode.stat.version, znode.stat.mzxid, znode.stat.mtime) = (*version, zxid, zxid * 10);
        }
        Change::SetAcl { path, acl, version } => {
            let znode = model.get_mut(path).ok_or(TreeError::NoNode)?;
            (znode.acl, znode.stat.aversion) = (*acl, *version);
        }
        Change::SetStats { path, data } => {
            model.get_mut(path).ok_or(TreeError::NoNode)?.data = Some(data.clone());
        }
    }
    Ok(())
}

fn apply_to_tree(writer: &mut TreeWriter, z: Zxid, change: &Change) -> Result<(), TreeError> {
    match change {
        Change::Create { path, data, acl, owner, parent_cversion, raise } => {
            let acl = lists(*acl);
            let new = NewZnode {
                path: path.as_bytes(),
                data: data.as_deref(),
                acl: &acl,
                stored_owner: *owner,
                time: z.0 * 10,
                parent_cversion: *parent_cversion,
                raise_parent_if_exists: *raise,
            };
            writer.create(z, &new).map(|_| ())
        }
        Change::Delete { path } => writer.delete(z, path.as_bytes()).map(|_| ()),
        Change::SetData { path, data, version } => {
            writer.set_data(z, path.as_bytes(), data.as_deref(), *version, z.0 * 10).map(|_| ())
        }
        Change::SetAcl { path, acl, version } => {
            writer.set_acl(z, path.as_bytes(), &lists(*acl), *version).map(|_| ())
        }
        Change::SetStats { path, data } => writer.set_stats_data(z, path.as_bytes(), data),
    }
}

/// Whether the tree reads as the model, for every path that any step may name.
fn check_reads<'a>(find: impl Fn(&str) -> Option<super::super::Znode<'a>>, model: &Model) {
    for path in paths().iter().map(String::as_str).chain(["", "/zookeeper", "/zookeeper/quota", "/none"]) {
        let (found, expected) = (find(path), model.get(path));
        assert_eq!(found.is_some(), expected.is_some(), "{path}");
        let (Some(found), Some(expected)) = (found, expected) else { continue };
        assert_eq!(found.data(), expected.data.as_deref(), "{path}");
        assert_eq!(found.stored_stat(), expected.stat, "{path}");
        assert_eq!(found.acl(), lists(expected.acl), "{path}");
        let below = format!("{path}/");
        let children: Vec<&[u8]> = model
            .keys()
            .filter_map(|other| other.strip_prefix(&below).filter(|name| !name.contains('/')))
            .map(str::as_bytes)
            .collect();
        assert_eq!(found.children().collect::<Vec<_>>(), children, "{path}");
        let stat = found.stat();
        let expected_stat = Stat {
            cversion: 2 * expected.stat.cversion - children.len() as i32,
            num_children: children.len() as i32,
            data_length: expected.data.as_ref().map_or(0, Vec::len) as i32,
            ..stat
        };
        assert_eq!(stat, expected_stat, "{path}");
        assert_eq!(
            found.body_crc(path.as_bytes()),
            digest::body_crc(path.as_bytes(), found.data()),
            "{path}"
        );
    }
}

fn model_digest(model: &Model) -> i64 {
    model.iter().fold(0, |sum: i64, (path, znode)| {
        sum.wrapping_add(digest::node_digest(path.as_bytes(), znode.data.as_deref(), &znode.stat))
    })
}

/// Three families, one of them large enough for pages.
fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for top in ["/a", "/b"] {
        paths.push(top.to_owned());
        for middle in ["/x", "/y"] {
            paths.push(format!("{top}{middle}"));
            paths.extend((0..3).map(|n| format!("{top}{middle}/{n}")));
        }
    }
    paths.push("/many".to_owned());
    paths.extend((0..40).map(|n| format!("/many/{}", n * 7 % 40)));
    paths
}

fn change() -> impl Strategy<Value = Change> {
    let path = || prop::sample::select(paths());
    let data = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        8 => (path(), data(), 0u8..4, prop::sample::select(vec![0, 0, 77, i64::MIN]), prop_oneof![4 => Just(-1), 1 => 0..5i32], any::<bool>())
            .prop_map(|(path, data, acl, owner, parent_cversion, raise)| Change::Create { path, data, acl, owner, parent_cversion, raise }),
        4 => path().prop_map(|path| Change::Delete { path }),
        3 => (path(), data(), -1..5i32).prop_map(|(path, data, version)| Change::SetData { path, data, version }),
        2 => (path(), 0u8..4, -1..5i32).prop_map(|(path, acl, version)| Change::SetAcl { path, acl, version }),
        1 => (path(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(path, data)| Change::SetStats { path, data }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec(change(), 1..2).prop_map(Step::Txn),
        4 => prop::collection::vec(change(), 2..12).prop_map(Step::Txn),
        3 => Just(Step::Pin),
        2 => Just(Step::Anchor),
        1 => Just(Step::Settle),
    ]
}

fn empty_model() -> Model {
    let stat = StoredStat::default();
    let znode = Znode { data: Some(Vec::new()), acl: 0, stat };
    ["", "/zookeeper", "/zookeeper/quota"].map(|path| (path.to_owned(), znode.clone())).into()
}

/// The states that the tree went through, by zxid.
type Seen = Vec<(Zxid, Rc<Model>)>;

fn run(steps: &[Step]) {
    let (mut rounds, reader) = Rounds::new();
    // The config node's ACL is no list of the model's.
    rounds.round(|writer, z| writer.delete(z, b"/zookeeper/config")).unwrap();
    let mut model = empty_model();
    model.get_mut("/zookeeper").unwrap().stat.pzxid = 1;
    let mut views: Vec<(View<'_>, Rc<Model>)> = Vec::new();
    let mut anchors: Vec<(Anchor, Seen)> = Vec::new();
    for step in steps {
        match step {
            Step::Txn(changes) => rounds.round(|writer, z| {
                for change in changes {
                    assert_eq!(
                        apply_to_tree(writer, z, change),
                        apply_to_model(&mut model, z.0, change),
                        "{change:?}"
                    );
                }
            }),
            Step::Anchor => {
                let mut anchor = Anchor::default();
                anchor.set(&reader);
                anchors.truncate(2);
                anchors.insert(0, (anchor, Vec::new()));
                anchors[0].1.push((Zxid(rounds.zxid), Rc::new(model.clone())));
            }
            Step::Pin => {
                if views.len() > 3 {
                    views.remove(0);
                }
                views.push((reader.pin(), Rc::new(model.clone())));
            }
            Step::Settle => {
                views.clear();
                anchors.clear();
                rounds.settle();
            }
        }
        check_reads(|path| rounds.writer.get(path.as_bytes()), &model);
        assert_eq!(rounds.writer.digest(), model_digest(&model));
        for (view, model) in &views {
            check_reads(|path| view.find(path.as_bytes()), model);
        }
        // Pinned only now: nothing but the anchors has held what was replaced since.
        let now = reader.pin();
        for (anchor, seen) in &mut anchors {
            if seen.last().is_some_and(|(at, _)| *at < now.at()) {
                seen.push((now.at(), Rc::new(model.clone())));
            }
            for (at, model) in seen {
                let view = now.earlier(anchor, *at).expect("the state is the same");
                check_reads(|path| view.find(path.as_bytes()), model);
            }
        }
    }
    views.clear();
    anchors.clear();
    check_sums(&rounds.writer, &reader);
    rounds.settle();
    check_reads(|path| rounds.writer.get(path.as_bytes()), &model);
    // L7: references to ACL lists are those of the znodes that live.
    let named: Vec<u8> = model.values().map(|znode| znode.acl).filter(|acl| *acl != 0).collect();
    let distinct: std::collections::BTreeSet<_> = named.iter().collect();
    assert_eq!(rounds.writer.acl_totals(), (distinct.len(), named.len() as u64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_view_reads_as_the_model_did_at_its_zxid(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
