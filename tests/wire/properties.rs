//! Round trips and totality, for every message.

use crate::client::encode_request;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::jute::{Reader, Writer, echo_bytes, java_text, to_java_bytes};
use ringkeeper::wire::request::*;
use ringkeeper::wire::txn::{self, Lifetime, Txn, TxnHeader};
use ringkeeper::wire::{Acl, Id, OpCode, STAT_BYTES, Stat, decode_acls, encode_acls};

type Text = Option<Vec<u8>>;

/// Values that any request can be made of.
#[derive(Clone, Debug)]
struct Fields {
    path: Text,
    data: Text,
    third: Text,
    lists: Vec<Option<Vec<Text>>>,
    acl: Option<Vec<(i32, Text, Text)>>,
    version: i32,
    flags: i32,
    long: i64,
    flag: bool,
    ops: Vec<OpFields>,
}

/// Values that an entry of a multi can be made of: nothing null that stock refuses.
#[derive(Clone, Debug)]
struct OpFields {
    kind: u8,
    path: Vec<u8>,
    data: Text,
    acl: Vec<(i32, Text, Text)>,
    version: i32,
    mode: i32,
    ttl: i64,
}

fn text() -> impl Strategy<Value = Text> {
    option::weighted(0.9, vec(any::<u8>(), 0..24))
}

fn acls() -> impl Strategy<Value = Vec<(i32, Text, Text)>> {
    vec((any::<i32>(), text(), text()), 0..4)
}

fn op_fields() -> impl Strategy<Value = OpFields> {
    (0u8..7, vec(any::<u8>(), 0..24), text(), acls(), any::<i32>(), 0..4i32, any::<i64>()).prop_map(
        |(kind, path, data, acl, version, mode, ttl)| OpFields { kind, path, data, acl, version, mode, ttl },
    )
}

prop_compose! {
    fn fields()(
        (path, data, third) in (text(), text(), text()),
        lists in vec(option::weighted(0.9, vec(text(), 0..4)), 5),
        acl in option::weighted(0.9, acls()),
        (version, flags, long, flag) in (any::<i32>(), any::<i32>(), any::<i64>(), any::<bool>()),
        ops in vec(op_fields(), 0..5),
    ) -> Fields {
        Fields { path, data, third, lists, acl, version, flags, long, flag, ops }
    }
}

fn raw(acl: &[(i32, Text, Text)]) -> Vec<RawAcl<'_>> {
    acl.iter()
        .map(|(perms, scheme, id)| RawAcl { perms: *perms, scheme: scheme.as_deref(), id: id.as_deref() })
        .collect()
}

impl OpFields {
    fn write(&self) -> MultiOp<'_> {
        let path = Some(&*self.path);
        let create = |op: OpCode, flags: i32, ttl: Option<i64>| {
            let (data, acl) = (self.data.as_deref(), Some(raw(&self.acl)));
            MultiOp::Create(op, Create { path, data, acl, flags, ttl })
        };
        match self.kind {
            0 => create(OpCode::Create, self.mode, None),
            1 => create(OpCode::Create2, self.mode, None),
            2 => create(OpCode::CreateContainer, 4, None),
            3 => create(OpCode::CreateTtl, 5 + self.mode % 2, Some(self.ttl)),
            4 => MultiOp::Delete(PathVersion { path, version: self.version }),
            5 => MultiOp::SetData(SetData { path, data: self.data.as_deref(), version: self.version }),
            _ => MultiOp::Check(PathVersion { path, version: self.version }),
        }
    }

    fn read(&self) -> ReadOp<'_> {
        let path = Some(&*self.path);
        if self.kind.is_multiple_of(2) { ReadOp::GetChildren(path) } else { ReadOp::GetData(path) }
    }
}

impl Fields {
    fn request(&self, op: OpCode) -> Option<Request<'_>> {
        let path = self.path.as_deref();
        let path_watch = PathWatch { path, watch: self.flag };
        let path_kind = PathKind { path, kind: self.version };
        let create = |ttl| Create {
            path,
            data: self.data.as_deref(),
            acl: self.acl.as_deref().map(raw),
            flags: self.flags,
            ttl,
        };
        let watches = |lists: usize| {
            let lists = self.lists[..lists]
                .iter()
                .map(|list| list.as_ref().map(|list| list.iter().map(|text| text.as_deref()).collect()))
                .collect();
            Request::SetWatches(SetWatches { relative_zxid: self.long, lists })
        };
        Some(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => Request::Create(op, create(None)),
            OpCode::CreateTtl => Request::Create(op, create(Some(self.long))),
            OpCode::Delete => Request::Delete(PathVersion { path, version: self.version }),
            OpCode::DeleteContainer => Request::DeleteContainer(path),
            OpCode::Exists => Request::Exists(path_watch),
            OpCode::GetData => Request::GetData(path_watch),
            OpCode::SetData => {
                Request::SetData(SetData { path, data: self.data.as_deref(), version: self.version })
            }
            OpCode::GetAcl => Request::GetAcl(path),
            OpCode::SetAcl => {
                Request::SetAcl(SetAcl { path, acl: self.acl.as_deref().map(raw), version: self.version })
            }
            OpCode::GetChildren => Request::GetChildren(path_watch),
            OpCode::GetChildren2 => Request::GetChildren2(path_watch),
            OpCode::Sync => Request::Sync(path),
            OpCode::Ping => Request::Ping,
            OpCode::Multi => Request::Multi(self.ops.iter().map(OpFields::write).collect()),
            OpCode::MultiRead => Request::MultiRead(self.ops.iter().map(OpFields::read).collect()),
            OpCode::Reconfig => Request::Reconfig(Reconfig {
                joining: path,
                leaving: self.data.as_deref(),
                members: self.third.as_deref(),
                config_id: self.long,
            }),
            OpCode::CheckWatches => Request::CheckWatches(path_kind),
            OpCode::RemoveWatches => Request::RemoveWatches(path_kind),
            OpCode::SetWatches => watches(3),
            OpCode::SetWatches2 => watches(5),
            OpCode::AddWatch => Request::AddWatch(path_kind),
            OpCode::Auth => Request::Auth(Auth { scheme: path, auth: self.data.as_deref() }),
            OpCode::Sasl => Request::Sasl(self.data.as_deref()?),
            OpCode::GetEphemerals => Request::GetEphemerals(path),
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(path),
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CreateSession => Request::CreateSession(self.version),
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Check | OpCode::Error => return None,
        })
    }
}

fn op() -> impl Strategy<Value = OpCode> {
    proptest::sample::select(OpCode::ALL)
}

/// Values that any txn can be made of.
#[derive(Clone, Debug)]
struct TxnFields {
    kind: u8,
    path: Vec<u8>,
    data: Text,
    acl: Vec<Acl>,
    version: i32,
    long: i64,
    flag: bool,
    paths: Vec<Vec<u8>>,
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..16).prop_map(|name| [b"/", &*name].concat())
}

prop_compose! {
    fn txn_fields()(
        kind in 0u8..11,
        (path, paths) in (path(), vec(path(), 0..4)),
        data in text(),
        acl in vec((any::<i32>(), vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9)), 0..3),
        (version, long, flag) in (any::<i32>(), any::<i64>(), any::<bool>()),
    ) -> TxnFields {
        let acl = acl
            .into_iter()
            .map(|(perms, scheme, id)| Acl { perms, id: Id { scheme: scheme.into(), id: id.into() } })
            .collect();
        TxnFields { kind, path, data, acl, version, long, flag, paths }
    }
}

impl TxnFields {
    fn txn(&self) -> Txn<'_> {
        let (path, data, version) = (&*self.path, self.data.as_deref(), self.version);
        let create = |op, lifetime| Txn::Create {
            op,
            path: path.into(),
            data,
            acl: self.acl.clone(),
            lifetime,
            parent_cversion: version,
        };
        let plain = if self.flag { Lifetime::Ephemeral } else { Lifetime::Persistent };
        match self.kind {
            0 => create(OpCode::Create, plain),
            1 => create(OpCode::Create2, plain),
            2 => create(OpCode::CreateContainer, Lifetime::Container),
            3 => create(OpCode::CreateTtl, Lifetime::Ttl(self.long)),
            4 => Txn::Delete { path, container: self.flag },
            5 => Txn::SetData { path, data, version, reconfig: self.flag },
            6 => Txn::SetAcl { path, acl: self.acl.clone(), version },
            7 => Txn::Check { path, version },
            8 => Txn::CreateSession(version),
            9 => Txn::CloseSession(
                self.flag.then(|| self.paths.iter().map(|path| path.as_slice().into()).collect()),
            ),
            _ => Txn::Error(version),
        }
    }
}

fn check_txn(header: TxnHeader, txn: &Txn<'_>, digest: Option<i64>) -> Result<(), TestCaseError> {
    let header = TxnHeader { op: txn.op() as i32, ..header };
    let mut bytes = Vec::new();
    txn::encode(&header, txn, digest, &mut bytes);
    prop_assert_eq!(bytes.len(), txn::encoded_bytes(txn, digest));
    let decoded = txn::decode(&bytes);
    prop_assert_eq!(decoded, Ok(txn::Decoded { header, txn: txn.clone(), digest }));
    prop_assert_eq!(txn::zxid_of(&bytes), Ok(header.zxid));
    Ok(())
}

/// Java's own reading of the bytes it writes, to compare with: UTF-16 units out of one to three bytes each.
fn java_units(bytes: &[u8]) -> Vec<u16> {
    let (mut units, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let low = |n: usize| u16::from(bytes[at + n] & 0x3f);
        let first = u16::from(bytes[at]);
        let (unit, length) = match bytes[at] {
            0..0x80 => (first, 1),
            0x80..0xe0 => ((first & 0x1f) << 6 | low(1), 2),
            _ => ((first & 0x0f) << 12 | low(1) << 6 | low(2), 3),
        };
        units.push(unit);
        at += length;
    }
    units
}

proptest! {
    #[test]
    fn every_request_round_trips(op in op(), fields in fields(), tail in vec(any::<u8>(), 0..6)) {
        let Some(request) = fields.request(op) else { return Ok(()) };
        let mut body = Vec::new();
        encode_request(&request, &mut body);
        let decoded = Request::decode(op, &body);
        prop_assert_eq!(decoded.as_ref(), Ok(&request));
        // Bytes behind a record are ignored, as in stock.
        body.extend_from_slice(&tail);
        let decoded = Request::decode(op, &body);
        prop_assert_eq!(decoded.as_ref(), Ok(&request));
    }

    #[test]
    fn a_request_cut_anywhere_is_refused(op in op(), fields in fields(), cut in any::<prop::sample::Index>()) {
        let Some(request) = fields.request(op) else { return Ok(()) };
        let mut body = Vec::new();
        encode_request(&request, &mut body);
        prop_assume!(!body.is_empty());
        prop_assert!(Request::decode(op, &body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn any_bytes_decode_to_something_stable_or_not_at_all(op in op(), body in vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(op, &body) {
            let mut again = Vec::new();
            encode_request(&request, &mut again);
            let decoded = Request::decode(op, &again);
            prop_assert_eq!(decoded.as_ref(), Ok(&request));
        }
    }

    #[test]
    fn the_handshake_round_trips(
        protocol_version in any::<i32>(), last_zxid_seen in any::<i64>(), timeout in any::<i32>(),
        session_id in any::<i64>(), password in text(), read_only in any::<Option<bool>>(),
    ) {
        let password = password.as_deref();
        let request =
            ConnectRequest { protocol_version, last_zxid_seen, timeout, session_id, password, read_only };
        let mut body = Vec::new();
        request.encode(&mut body);
        prop_assert_eq!(ConnectRequest::decode(&body), Ok(request));
    }

    #[test]
    fn any_bytes_are_a_stable_handshake_or_none(body in vec(any::<u8>(), 0..80)) {
        if let Ok(request) = ConnectRequest::decode(&body) {
            let mut again = Vec::new();
            request.encode(&mut again);
            prop_assert_eq!(ConnectRequest::decode(&again), Ok(request));
        }
    }

    #[test]
    fn every_txn_round_trips(
        fields in txn_fields(), session in any::<i64>(), cxid in any::<i32>(), zxid in any::<i64>(),
        time in any::<i64>(), digest in any::<Option<i64>>(),
    ) {
        check_txn(TxnHeader { session, cxid, zxid, time, op: 0 }, &fields.txn(), digest)?;
    }

    #[test]
    fn every_multi_txn_round_trips(parts in vec(txn_fields(), 0..6), digest in any::<Option<i64>>()) {
        let multi = Txn::Multi(parts.iter().map(TxnFields::txn).collect());
        check_txn(TxnHeader { session: 1, cxid: 2, zxid: 3, time: 4, op: 0 }, &multi, digest)?;
    }

    #[test]
    fn any_bytes_are_a_stable_txn_or_none(op in op(), record in vec(any::<u8>(), 0..200)) {
        let mut bytes = Vec::new();
        TxnHeader { session: 1, cxid: 2, zxid: 3, time: 4, op: op as i32 }.encode(&mut bytes);
        bytes.extend_from_slice(&record);
        if let Ok(decoded) = txn::decode(&bytes) {
            let mut again = Vec::new();
            txn::encode(&decoded.header, &decoded.txn, decoded.digest, &mut again);
            prop_assert_eq!(txn::decode(&again), Ok(decoded));
        }
    }

    #[test]
    fn a_stat_round_trips_in_68_bytes(bytes in any::<[u8; STAT_BYTES - 4]>(), last in any::<[u8; 4]>()) {
        let bytes = [&bytes[..], &last[..]].concat();
        let stat = Stat::decode(&mut Reader::new(&bytes)).unwrap();
        let mut again = Vec::new();
        stat.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn acl_lists_round_trip(fields in txn_fields()) {
        let mut bytes = Vec::new();
        encode_acls(&fields.acl, &mut bytes);
        prop_assert_eq!(decode_acls(&mut Reader::new(&bytes)), Ok(fields.acl));
    }

    #[test]
    fn primitives_round_trip(byte in any::<u8>(), int in any::<i32>(), long in any::<i64>(), buffer in text()) {
        let mut out = Vec::new();
        out.byte(byte);
        out.int(int);
        out.buffer(buffer.as_deref());
        out.long(long);
        let mut r = Reader::new(&out);
        prop_assert_eq!(r.byte(), Ok(byte));
        prop_assert_eq!(r.int(), Ok(int));
        prop_assert_eq!(r.buffer(), Ok(buffer.as_deref()));
        prop_assert_eq!(r.long(), Ok(long));
        prop_assert!(r.is_empty());
    }

    #[test]
    fn text_is_written_in_utf_16_units_as_java_does(text in any::<String>()) {
        let bytes = to_java_bytes(text.as_bytes()).unwrap();
        prop_assert_eq!(java_units(&bytes), text.encode_utf16().collect::<Vec<_>>());
        prop_assert_eq!(echo_bytes(text.as_bytes()), bytes);
    }

    #[test]
    fn an_echo_of_any_bytes_can_be_read_by_java(bytes in vec(any::<u8>(), 0..40)) {
        let units = java_units(&echo_bytes(&bytes));
        prop_assert_eq!(String::from_utf16_lossy(&units).into_bytes(), java_text(&bytes).into_owned());
    }
}
